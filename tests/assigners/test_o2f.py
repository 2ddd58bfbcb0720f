"""O2F against its oracle, and cases that a person can follow."""

from collections import Counter
from functools import partial

import pytest
import torch

from assigners import O2F, GroundTruth, PointGrid, Predictions
from tests.helpers.assigner_batches import random_predictions
from tests.helpers.assigner_cases import CASES, copies, crowd, truths
from tests.helpers.assigner_check import agree, rows
from tests.oracles.o2f import o2f


@pytest.mark.parametrize("progress", [0.0, 0.375, 1.0])
def test_agrees_with_the_oracle(progress: float) -> None:
    agree(*CASES["o2f"], progress=progress)


@pytest.mark.parametrize(
    "options",
    [
        {"topk": 1, "center_radius": 2.5},
        {"topk": 3, "alpha": 0.5, "center_radius": 100.0},
        {"topk": 100, "alpha": 1.0, "t_max": 0.9, "t_min": 0.1, "soft_weight": 0.25},
    ],
)
def test_options_agree_with_the_oracle(options: dict[str, float]) -> None:
    agree(O2F(**options), partial(o2f, **options), examples=40, progress=0.5)


def test_one_certain_and_the_soft_ones() -> None:
    grid = PointGrid.for_image(8, 24, (8,))
    box = [0.0, 0.0, 24.0, 8.0]
    scores = torch.tensor([[[0.25], [0.5], [0.5]]])
    boxes = torch.tensor([[box, box, [0.0, 0.0, 24.0, 6.0]]])
    found = rows(O2F()(grid, Predictions(scores, boxes), truths([box]), progress=0.5))
    assert found[0, 1] == (0, 1.0, 1.0)
    assert found[0, 2][1:] == pytest.approx((0.4, 0.4))  # the largest p among the soft: T itself
    assert found[0, 0][1:] == pytest.approx((0.2, 0.4))


def test_only_points_in_box_and_center_square() -> None:
    grid = PointGrid.for_image(8, 80, (8,))
    box = [0.0, 0.0, 80.0, 8.0]
    found = O2F()(grid, copies(grid, box), truths([box]))
    assert found.point_K.tolist() == [4, 5]  # x = 36 and 44; 28 and 52 lie on the edge, 12 px away
    narrow = [37.0, 0.0, 45.0, 8.0]
    assert O2F()(grid, copies(grid, narrow), truths([narrow])).point_K.tolist() == [5]


@pytest.mark.parametrize("points", [33, 37])
def test_ties_hold_whatever_the_iou(points: int) -> None:
    """Equal points must get equal q wherever they lie in a long tensor (SIMD body or tail)."""
    grid, width = PointGrid.for_image(8, 8 * points, (8,)), 8.0 * points
    for height in range(1, 64):
        predictions = copies(grid, [0.0, 0.0, width, height / 8])
        found = O2F(center_radius=1000.0)(grid, predictions, truths([[0.0, 0.0, width, 8.0]]))
        assert found.point_K.tolist() == list(range(7)), height
        assert found.weight_K.tolist()[0] == 1.0


def test_points_without_overlap_are_no_candidates() -> None:
    grid = PointGrid.for_image(24, 24, (8,))
    box = [0.0, 0.0, 24.0, 24.0]
    assert len(O2F()(grid, copies(grid, None, score=1.0), truths([box]))) == 0
    boxes = grid.centers_P2.repeat(1, 2)[None].clone()
    boxes[0, 7] = torch.tensor(box)
    found = rows(O2F()(grid, Predictions(torch.zeros(1, 9, 1), boxes), truths([box])))
    assert found == {(0, 7): (0, 1.0, 1.0)}


def test_conflict_goes_to_the_claimant_with_the_higher_quality() -> None:
    grid = PointGrid.for_image(8, 8, (8,))
    close, far = [0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 8.0, 6.0]
    truth = truths([far, close])
    predictions = Predictions(torch.tensor([[[0.5, 0.5]]]), torch.tensor([[close]]))
    assert O2F()(grid, predictions, truth).truth_K.tolist() == [1]
    truth.labels_G[1] = 1
    # q = p^.2 IoU^.8: 1 x .75^.8 = .794 against .1^.2 x 1 = .631
    predictions = Predictions(torch.tensor([[[1.0, 0.1]]]), torch.tensor([[close]]))
    assert O2F()(grid, predictions, truth).truth_K.tolist() == [0]


@pytest.mark.parametrize(("progress", "temperature"), [(0.0, 0.6), (0.25, 0.5), (0.5, 0.4), (1.0, 0.2)])
def test_soft_scores_fall_with_progress(progress: float, temperature: float) -> None:
    grid = PointGrid.for_image(96, 96, (8, 16, 32))
    pairs = crowd(2, 15, 96, seed=2)
    truth = GroundTruth.from_list(pairs)
    predictions = random_predictions(grid, pairs, 3, "near", seed=2)
    predictions.scores_BPC.clamp_(min=1 / 64)
    found = O2F()(grid, predictions, truth, progress=progress)
    certain_K = found.weight_K == 1.0
    assert bool((found.score_K[certain_K] == 1.0).all())
    assert bool((found.weight_K[~certain_K] == torch.tensor(0.4)).all())
    largest: dict[int, float] = {}
    for row, score in zip(
        found.truth_K[~certain_K].tolist(), found.score_K[~certain_K].tolist(), strict=True
    ):
        largest[row] = max(largest.get(row, 0.0), score)
    assert len(largest) > 5
    assert list(largest.values()) == pytest.approx([temperature] * len(largest), rel=1e-6)


@pytest.mark.parametrize("style", ["near", "coarse", "broken"])
def test_every_truth_with_points_has_one_certain(style: str) -> None:
    grid = PointGrid.for_image(96, 96, (8, 16, 32))
    pairs = crowd(3, 30, 96, seed=3)
    found = O2F()(grid, random_predictions(grid, pairs, 3, style, seed=3), GroundTruth.from_list(pairs))
    certain = Counter(found.truth_K[found.weight_K == 1.0].tolist())
    assert certain == Counter(set(found.truth_K.tolist()))
    per_truth = Counter(found.truth_K.tolist())
    assert max(per_truth.values()) <= 7
