"""ATSS against its oracle, and cases that a person can follow."""

from functools import partial

import pytest
import torch

from assigners import ATSS, PointGrid
from tests.helpers.assigner_cases import CASES, copies, truths
from tests.helpers.assigner_check import agree, rows
from tests.oracles.atss import atss


@pytest.mark.parametrize("name", ["atss", "atss-iou", "atss-force"])
def test_agrees_with_the_oracle(name: str) -> None:
    agree(*CASES[name])


@pytest.mark.parametrize(("topk", "scale"), [(1, 8.0), (2, 5.0), (4, 1.0), (50, 3.0)])
def test_options_agree_with_the_oracle(topk: int, scale: float) -> None:
    options = {"topk": topk, "anchor_scale": scale, "force_match": topk == 4}
    agree(ATSS(**options), partial(atss, **options), examples=30)


def test_a_single_candidate_is_its_own_threshold() -> None:
    grid = PointGrid.for_image(8, 8, (8,))
    box = [1.0, 1.0, 7.0, 7.0]
    assert rows(ATSS()(grid, copies(grid, None), truths([box]))) == {(0, 0): (0, 1.0, 1.0)}


def test_topk_of_one_on_one_level() -> None:
    grid = PointGrid.for_image(24, 24, (8,))
    found = rows(ATSS(topk=1)(grid, copies(grid, None), truths([[9.0, 9.0, 22.0, 15.0]])))
    assert found == {(0, 4): (0, 1.0, 1.0)}  # centre (15.5, 12) is nearest to point 4 at (12, 12)


def test_equal_distances_go_to_the_lower_point() -> None:
    grid = PointGrid.for_image(16, 16, (8,))
    found = rows(ATSS(topk=1)(grid, copies(grid, None), truths([[2.0, 2.0, 14.0, 14.0]])))
    assert found == {(0, 0): (0, 1.0, 1.0)}


@pytest.mark.parametrize("count", [2, 3, 5, 6, 7, 9])
@pytest.mark.parametrize("margin", [40.0, 41.0, 57.25, 101.75])
def test_equal_candidates_are_all_positive(count: int, margin: float) -> None:
    """All anchors lie within the truth, so all IoUs equal the threshold."""
    grid = PointGrid.for_image(8, 8 * count, (8,))
    box = [-margin, -margin, 8 * count + margin, 8 + margin]
    assert len(ATSS()(grid, copies(grid, None), truths([box]))) == count


def test_conflict_goes_to_the_higher_anchor_iou() -> None:
    grid = PointGrid.for_image(8, 8, (8,))
    small, large = [1.0, 1.0, 7.0, 7.0], [0.0, 0.0, 8.0, 8.0]
    assert ATSS()(grid, copies(grid, None), truths([small, large])).truth_K.tolist() == [1]
    assert ATSS()(grid, copies(grid, None), truths([large, small])).truth_K.tolist() == [0]


def test_score_is_one_or_the_predicted_iou() -> None:
    grid = PointGrid.for_image(8, 8, (8,))
    truth, predictions = truths([[0.0, 0.0, 8.0, 8.0]]), copies(grid, [0.0, 0.0, 8.0, 2.0])
    assert ATSS()(grid, predictions, truth).score_K.tolist() == [1.0]
    assert ATSS(score="iou")(grid, predictions, truth).score_K.tolist() == [0.25]


def test_a_forced_match_needs_no_point_inside() -> None:
    grid = PointGrid.for_image(32, 32, (8,))
    tiny = [13.0, 13.0, 15.0, 15.0]
    assert len(ATSS()(grid, copies(grid, None), truths([tiny]))) == 0
    # Every anchor of 64 px contains the box, so all IoUs are equal and the lowest point takes it.
    found = rows(ATSS(force_match=True)(grid, copies(grid, None), truths([tiny])))
    assert found == {(0, 0): (0, 1.0, 1.0)}


def test_a_forced_match_overrides_a_better_claim() -> None:
    grid = PointGrid.for_image(8, 16, (8,))
    left, tiny = [0.0, 0.0, 7.0, 8.0], [0.5, 0.5, 1.5, 1.5]
    assert ATSS()(grid, copies(grid, None), truths([left, tiny])).truth_K.tolist() == [0]
    options = {"force_match": True, "anchor_scale": 1.0}
    assert ATSS(**options)(grid, copies(grid, None), truths([tiny])).point_K.tolist() == [0]
    both = rows(ATSS(**options)(grid, copies(grid, None), truths([left, tiny])))
    assert both[0, 0][0] == 0, "both are forced to point 0: the higher anchor IoU wins"
    wide = [0.0, 0.0, 16.0, 8.0]  # claims both points with one IoU and is forced to point 0 alone
    right = [9.0, 1.0, 10.0, 2.0]
    found = rows(ATSS(**options)(grid, copies(grid, None), truths([wide, right])))
    assert {point: row[0] for (_, point), row in found.items()} == {0: 0, 1: 1}


def test_two_truths_forced_to_one_point() -> None:
    grid = PointGrid.for_image(8, 8, (8,))
    same = [1.0, 1.0, 2.0, 2.0]
    assigner = ATSS(force_match=True)
    assert assigner(grid, copies(grid, None), truths([same, same])).truth_K.tolist() == [0]
    larger = [1.0, 1.0, 2.0, 2.5]
    assert assigner(grid, copies(grid, None), truths([same, larger])).truth_K.tolist() == [1]


def test_predictions_do_not_choose() -> None:
    grid = PointGrid.for_image(64, 64, (8, 16))
    box = [4.0, 4.0, 50.0, 61.0]
    poor = ATSS()(grid, copies(grid, None, score=0.0), truths([box]))
    good = ATSS()(grid, copies(grid, box, score=1.0), truths([box]))
    assert torch.equal(poor.point_K, good.point_K)
