"""MaxIoU against its oracle, and cases that a person can follow."""

from functools import partial
from typing import Any

import pytest

from assigners import MaxIoU, PointGrid
from tests.helpers.assigner_cases import CASES, copies, truths
from tests.helpers.assigner_check import agree
from tests.oracles.max_iou import max_iou


@pytest.mark.parametrize("name", ["max-iou", "max-iou-paper"])
def test_agrees_with_the_oracle(name: str) -> None:
    agree(*CASES[name])


@pytest.mark.parametrize(
    "options",
    [
        {"positive": 0.7, "negative": 0.3, "scales": 2, "force_match": False},
        {"positive": 0.25, "negative": 0.125, "anchor_scale": 2.0, "scales": 1},
        {"positive": 0.4, "negative": 0.4},
    ],
)
def test_options_agree_with_the_oracle(options: dict[str, Any]) -> None:
    agree(MaxIoU(**options), partial(max_iou, **options), examples=40, positive=0.01)


def test_points_between_the_thresholds_are_ignored() -> None:
    """A square anchor of 32 px that is shifted by d on one axis has an IoU of (32 - d) / (32 + d)."""
    grid = PointGrid.for_image(8, 200, (8,))
    truth = truths([[84.0 - 16, 4.0 - 16, 84.0 + 16, 4.0 + 16]])  # around point 10
    found = MaxIoU(anchor_scale=4.0, scales=1)(grid, copies(grid, None), truth)
    assert found.point_K.tolist() == [9, 10, 11]  # d = 8: 0.6
    assert found.point_N.tolist() == []  # d = 16: 0.333
    found = MaxIoU(0.7, 0.3, anchor_scale=4.0, scales=1)(grid, copies(grid, None), truth)
    assert found.point_K.tolist() == [10]
    assert found.point_N.tolist() == [8, 9, 11, 12]
    assert found.weight_N.tolist() == [0.0] * 4


def test_a_tiny_truth_gets_its_best_anchor_and_no_other() -> None:
    grid = PointGrid.for_image(64, 64, (8, 16))
    tiny = truths([[30.0, 30.0, 34.0, 34.0]])
    assert len(MaxIoU()(grid, copies(grid, None), tiny)) == 1
    assert len(MaxIoU(force_match=False)(grid, copies(grid, None), tiny)) == 0


def test_a_forced_match_is_not_ignored() -> None:
    """At scale 8 and stride 8 the best anchor of a 90 px square has an IoU of 0.506, of 96 px of 0.444."""
    grid = PointGrid.for_image(200, 200, (8,))
    truth = truths([[52.0, 52.0, 148.0, 148.0]])
    options = {"anchor_scale": 8.0, "scales": 1}
    without = MaxIoU(**options, force_match=False)(grid, copies(grid, None), truth)
    assert len(without) == 0
    forced = MaxIoU(**options)(grid, copies(grid, None), truth)
    assert len(forced) == 1
    assert set(without.point_N.tolist()) == {*forced.point_N.tolist(), *forced.point_K.tolist()}
    assert len(without.point_N) > 1


def test_both_thresholds_are_included() -> None:
    """Halves and quarters of the anchor (4, 4, 36, 36) have IoUs of exactly 0.5 and 0.25."""
    grid = PointGrid.for_image(64, 64, (8,))
    assigner = MaxIoU(positive=0.5, negative=0.25, scales=1, force_match=False)
    point = grid.centers_P2.tolist().index([20.0, 20.0])
    assert point in assigner(grid, copies(grid, None), truths([[4.0, 4.0, 36.0, 20.0]])).point_K.tolist()
    assert point in assigner(grid, copies(grid, None), truths([[4.0, 4.0, 36.0, 12.0]])).point_N.tolist()


@pytest.mark.parametrize(
    "options",
    [{"positive": 0.3}, {"negative": 0.0}, {"positive": 1.5}, {"anchor_scale": 0.0}, {"scales": 0}],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        MaxIoU(**options)
