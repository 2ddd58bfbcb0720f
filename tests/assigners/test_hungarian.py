"""Hungarian against its oracle, against scipy in crowds, and cases that a person can follow."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from assigners import GroundTruth, Hungarian, PointGrid, Predictions
from tests.helpers.assigner_batches import random_predictions
from tests.helpers.assigner_cases import CASES, GRID, copies, crowd, truths
from tests.helpers.assigner_check import agree, rows
from tests.oracles.hungarian import cost, hungarian
from tests.oracles.scene import inside, scenes


def test_agrees_with_the_oracle() -> None:
    agree(*CASES["hungarian"], decided=0.4)


@pytest.mark.parametrize(
    "options",
    [
        {"class_weight": 2.0, "l1_weight": 0.0, "giou_weight": 1.0},
        {"class_weight": 0.5, "l1_weight": 2.0, "giou_weight": 0.0, "center_radius": 1.5},
    ],
)
def test_options_agree_with_the_oracle(options: dict[str, float]) -> None:
    agree(Hungarian(**options), partial(hungarian, **options), examples=40, decided=0.3)


@pytest.mark.parametrize("count", [40, 150])
def test_the_sum_of_costs_is_the_smallest_in_crowds(count: int) -> None:
    """scipy matches as many truths as there can be, at the least cost; so must we."""
    pairs = crowd(2, count, 96, seed=count)
    predictions, truth = random_predictions(GRID, pairs, 3, "near", count), GroundTruth.from_list(pairs)
    found = rows(Hungarian()(GRID, predictions, truth))
    for image, (scene, first) in enumerate(scenes(GRID, predictions, truth)):
        table = np.full((len(scene.boxes), len(scene.points) + len(scene.boxes)), 1e4)
        for t in scene.valid():
            for p, place in enumerate(scene.points):
                if inside(place, scene.boxes[t]):
                    table[t, p] = cost(scene, p, t, 1.0, 5.0, 2.0)
        best = table[linear_sum_assignment(table)]
        ours = [table[t - first, p] for (i, p), (t, _, _) in found.items() if i == image]
        assert len(ours) == (best < 1e4).sum()
        assert sum(ours) == pytest.approx(best[best < 1e4].sum(), abs=1e-4)


def test_each_part_of_the_cost_decides_where_the_others_are_equal() -> None:
    grid = PointGrid.for_image(8, 24, (8,))
    box = [0.0, 0.0, 24.0, 8.0]
    scores, boxes_BP4 = torch.full((1, 3, 2), 0.5), copies(grid, box).boxes_BP4.clone()
    scores[0, 2, 0] = 0.6
    assert Hungarian()(grid, Predictions(scores, boxes_BP4), truths([box])).point_K.tolist() == [2]
    boxes_BP4[0, 2] = torch.tensor([0.0, 0.0, 22.0, 8.0])  # L1 1/24 + 1/12, GIoU 0.917
    assert Hungarian()(grid, Predictions(scores, boxes_BP4), truths([box])).point_K.tolist() == [0]
    by_class = Hungarian(l1_weight=0.1, giou_weight=0.1)
    assert by_class(grid, Predictions(scores, boxes_BP4), truths([box])).point_K.tolist() == [2]


def test_no_truth_goes_without_a_point_that_it_could_have() -> None:
    """Truth 1 has one point only, and truth 0 is far better served by that one: it gives way all the same."""
    grid = PointGrid.for_image(8, 16, (8,))
    wide, left = [0.0, 0.0, 16.0, 8.0], [0.0, 0.0, 8.0, 8.0]
    boxes_BP4 = torch.tensor([[wide, [9000.0, 0.0, 9016.0, 8.0]]])
    found = Hungarian()(grid, Predictions(torch.full((1, 2, 2), 0.5), boxes_BP4), truths([wide, left]))
    assert found.truth_K.tolist() == [1, 0]


@pytest.mark.parametrize("options", [{"class_weight": -1.0}, {"giou_weight": -0.1}, {"center_radius": 0.0}])
def test_options_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        Hungarian(**options)
