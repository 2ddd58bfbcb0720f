"""Dual weighting against its oracle, and cases that a person can follow."""

import math
from functools import partial

import pytest
import torch

from assigners import DualWeighting, PointGrid, Predictions
from tests.helpers.assigner_cases import CASES, copies, truths
from tests.helpers.assigner_check import agree
from tests.oracles.dw import dw


def test_agrees_with_the_oracle() -> None:
    agree(*CASES["dw"], decided=0.4)


@pytest.mark.parametrize(
    "options",
    [
        {"sharpness": 2.0, "normalizer": 2.0, "loss_scale": 1.0, "sigma": 4.0},
        {"sharpness": 8.0, "normalizer": 0.0, "sigma": 0.5},
    ],
)
def test_options_agree_with_the_oracle(options: dict[str, float]) -> None:
    agree(DualWeighting(**options), partial(dw, **options), examples=40, decided=0.3)


def test_weights_of_three_points_in_a_row() -> None:
    """A strip of 24 x 8 px. Its points predict IoUs of 1, 0.75 and 0.25, all with p = 0.5."""
    grid = PointGrid.for_image(8, 24, (8,))
    boxes = torch.tensor([[[0.0, 0.0, 24.0, 8.0], [0.0, 0.0, 18.0, 8.0], [0.0, 0.0, 6.0, 8.0]]])
    found = DualWeighting()(
        grid, Predictions(torch.full((1, 3, 1), 0.5), boxes), truths([[0.0, 0.0, 24.0, 8.0]])
    )
    u = [0.5 * math.exp(-5 * (1 - overlap)) for overlap in (1.0, 0.75, 0.25)]
    prior = [math.exp(-1 / (2 * 1.11**2)), 1.0, math.exp(-1 / (2 * 1.11**2))]
    total = sum(math.exp(3 * a) * a * b for a, b in zip(u, prior, strict=True))
    expected = [math.exp(5 * a) * a * b / total for a, b in zip(u, prior, strict=True)]
    assert found.weight_K.tolist() == pytest.approx(expected, rel=1e-5)
    assert found.score_K.tolist() == [1.0] * 3
    # Negative: 0 for the best, (1 - 0.5625) / 0.75 of at most 1 for the second, 1 below an IoU of 0.5.
    assert found.point_N.tolist() == [0, 1, 2]
    assert found.weight_N.tolist() == pytest.approx([0.0, 0.4375 / 0.75, 1.0], abs=1e-6)


def test_a_contested_point_goes_to_the_larger_positive_weight() -> None:
    grid = PointGrid.for_image(8, 24, (8,))
    wide, left = [0.0, 0.0, 24.0, 8.0], [0.0, 0.0, 8.0, 8.0]
    found = DualWeighting()(grid, copies(grid, left), truths([wide, left]))
    assert found.truth_K.tolist() == [1, 0, 0]
    assert found.weight_N.tolist()[0] == 1.0  # truth 1 has one point, and the stretch of one value is 1


@pytest.mark.parametrize("options", [{"sigma": 0.0}, {"loss_scale": -1.0}])
def test_options_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        DualWeighting(**options)
