"""DSLA against its oracle, and cases that a person can follow."""

from collections import Counter
from functools import partial

import pytest
import torch

from assigners import DSLA, GroundTruth, PointGrid, Predictions
from tests.helpers.assigner_batches import Batch, random_predictions
from tests.helpers.assigner_cases import CASES, GRID, copies, truths
from tests.helpers.assigner_check import agree, compare, rows
from tests.oracles.dsla import dsla


@pytest.mark.parametrize("name", ["dsla", "dsla-nanodet"])
def test_agrees_with_the_oracle(name: str) -> None:
    agree(*CASES[name], examples=60)


def test_options_agree_with_the_oracle() -> None:
    options = {"candidate_topk": 3, "iou_weight": 1.0, "center_radius": 1.5}
    agree(DSLA(**options), partial(dsla, **options), examples=30)


def test_equals_the_published_form_where_no_truth_takes_a_point_outside() -> None:
    """There a truth may take any point that lies inside some truth of the image."""
    seen: Counter[str] = Counter()
    for seed in range(60):
        generator = torch.Generator().manual_seed(seed)
        corner_N2 = torch.randint(0, 200, (2, 2), generator=generator) / 4
        extent_N2 = torch.randint(80, 240, (2, 2), generator=generator) / 4
        labels_N = torch.randint(0, 3, (2,), generator=generator)
        pairs = [(torch.cat((corner_N2, corner_N2 + extent_N2), dim=1), labels_N)]
        predictions = random_predictions(GRID, pairs, 3, "poor", seed)
        batch = Batch(GRID, predictions, GroundTruth.from_list(pairs), 1, "poor")
        seen += compare(DSLA(), partial(dsla, everywhere=True), batch)
    assert seen["with positives"] >= 20, seen


def test_k_is_the_floor_of_the_summed_ious() -> None:
    grid = PointGrid.for_image(64, 64, (8,))
    box = [0.0, 0.0, 64.0, 64.0]
    assert len(DSLA()(grid, copies(grid, box), truths([box]))) == 13
    quarter = [0.0, 0.0, 64.0, 17.0]  # IoU 17/64: 3.45 over the 13 best
    assert len(DSLA()(grid, copies(grid, quarter), truths([box]))) == 3
    assert len(DSLA(candidate_topk=10)(grid, copies(grid, quarter), truths([box]))) == 2
    assert len(DSLA()(grid, copies(grid, None), truths([box]))) == 1


def test_the_prior_prefers_the_centre() -> None:
    """Equal predictions: the nearest points are taken, without the prior the lowest ones."""
    grid = PointGrid.for_image(8, 96, (8,))
    box, poor = [0.0, 0.0, 96.0, 8.0], [0.0, 0.0, 96.0, 1.5]  # IoU 0.1875: 2.25 over the 12 points
    assert DSLA()(grid, copies(grid, poor), truths([box])).point_K.tolist() == [5, 6]
    assert DSLA(center_radius=None)(grid, copies(grid, poor), truths([box])).point_K.tolist() == [0, 1]


def test_a_far_better_box_outweighs_the_distance_up_to_a_point() -> None:
    """3 x log(1 / 0.5) = 2.1 is less than what 5.5 strides cost (316), more than 3.2 (1.6 and 0.03 there)."""
    grid = PointGrid.for_image(8, 96, (8,))
    box, half = [0.0, 0.0, 96.0, 8.0], [0.0, 0.0, 96.0, 4.0]
    for perfect, chosen in ((0, 5), (3, 3)):
        boxes = torch.tensor([0.0, 0.0, 0.0, 0.0]).repeat(1, 12, 1)
        boxes[0, 5], boxes[0, perfect] = torch.tensor(half), torch.tensor(box)
        found = DSLA()(grid, Predictions(torch.full((1, 12, 1), 0.5), boxes), truths([box]))
        assert found.point_K.tolist() == [chosen]


def test_the_class_is_compared_with_the_iou() -> None:
    """Boxes of IoU 0.5: a score of 0.5 costs nothing but its entropy, a score of 1 costs more."""
    grid = PointGrid.for_image(8, 16, (8,))
    box, half = [0.0, 0.0, 16.0, 8.0], [0.0, 0.0, 16.0, 4.0]
    for scores in ([0.5, 1.0], [1.0, 0.5]):
        predictions = Predictions(torch.tensor(scores).view(1, 2, 1), torch.tensor([[half, half]]))
        found = rows(DSLA()(grid, predictions, truths([box])))
        assert found == {(0, scores.index(0.5)): (0, 0.5, 1.0)}


def test_other_classes_cost_too() -> None:
    grid = PointGrid.for_image(8, 16, (8,))
    box, half = [0.0, 0.0, 16.0, 8.0], [0.0, 0.0, 16.0, 4.0]
    scores = torch.tensor([[[0.5, 0.9], [0.5, 0.1]]])
    found = DSLA()(grid, Predictions(scores, torch.tensor([[half, half]])), truths([box]))
    assert found.point_K.tolist() == [1]


def test_a_truth_without_a_point_inside_gets_nothing() -> None:
    """Where mmdetection lends it a point of its neighbour."""
    grid = PointGrid.for_image(64, 64, (8,))
    tiny, large = [13.0, 13.0, 15.0, 15.0], [0.0, 0.0, 64.0, 64.0]
    assert set(DSLA()(grid, copies(grid, tiny), truths([tiny, large])).truth_K.tolist()) == {1}


def test_a_topk_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="candidate_topk must be at least 1"):
        DSLA(candidate_topk=0)
