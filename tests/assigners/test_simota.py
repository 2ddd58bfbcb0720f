"""SimOTA against its oracle, and cases that a person can follow."""

from functools import partial

import pytest
import torch

from assigners import DSLA, PointGrid, Predictions, SimOTA
from tests.helpers.assigner_batches import PROPER
from tests.helpers.assigner_cases import CASES, copies, truths
from tests.helpers.assigner_check import agree, rows
from tests.oracles.simota import simota


@pytest.mark.parametrize("name", ["simota", "simota-center"])
def test_agrees_with_the_oracle(name: str) -> None:
    agree(*CASES[name])


@pytest.mark.parametrize("region", ["box_or_center", "center"])
def test_varifocal_agrees_with_the_oracle(region: str) -> None:
    # Without broken predictions: the GIoU of a box of NaN is undefined.
    options = {"cost": "varifocal", "iou_weight": 6.0, "region": region}
    agree(SimOTA(**options), partial(simota, **options), styles=("near", "coarse", "constant"))


@pytest.mark.parametrize("cost", ["bce", "varifocal"])
def test_options_agree_with_the_oracle(cost: str) -> None:
    options = {"center_radius": 1.0, "candidate_topk": 3, "iou_weight": 1.5, "cls_weight": 0.5, "cost": cost}
    styles = ("near", "coarse", "constant")
    agree(SimOTA(**options), partial(simota, **options), examples=40, styles=styles)


@pytest.mark.parametrize("cost", ["bce", "varifocal"])
def test_equals_the_published_form_where_proper_candidates_suffice(cost: str) -> None:
    """There a truth may take any foreground point of the image, at a cost 1e5 higher."""
    oracle = partial(simota, cost=cost, everywhere=True)
    agree(SimOTA(cost=cost), oracle, kinds=PROPER, styles=("near", "poor"), decided=0.3)


def test_k_is_the_floor_of_the_summed_ious() -> None:
    grid = PointGrid.for_image(64, 64, (8,))
    box = [0.0, 0.0, 64.0, 64.0]
    assert len(SimOTA()(grid, copies(grid, box), truths([box]))) == 10
    quarter = [0.0, 0.0, 64.0, 17.0]  # IoU 17/64: 2.66 over the ten best
    assert len(SimOTA()(grid, copies(grid, quarter), truths([box]))) == 2
    assert len(SimOTA()(grid, copies(grid, None), truths([box]))) == 1


def test_k_counts_far_points_too() -> None:
    """Points near another truth that predict this one raise its k."""
    grid = PointGrid.for_image(64, 256, (8,))
    here, there = [0.0, 0.0, 40.0, 40.0], [200.0, 0.0, 240.0, 40.0]
    scores = torch.full((1, len(grid), 1), 0.5)
    boxes = grid.centers_P2.repeat(1, 2)[None].clone()
    boxes[:, grid.centers_P2[:, 0] > 128] = torch.tensor(here)
    found = SimOTA()(grid, Predictions(scores, boxes), truths([here, there]))
    assert found.truth_K.tolist().count(0) == 10
    assert found.truth_K.tolist().count(1) == 1
    assert bool((grid.centers_P2[found.point_K[found.truth_K == 0], 0] < 128).all())


def test_a_truth_with_few_points_takes_what_it_has() -> None:
    grid = PointGrid.for_image(16, 16, (8,))
    box = [0.0, 0.0, 16.0, 16.0]
    assert rows(SimOTA()(grid, copies(grid, box), truths([box]))) == {(0, p): (0, 1.0, 1.0) for p in range(4)}


def test_proper_candidates_come_first() -> None:
    """A point inside the box but outside the centre square is taken only after all proper ones."""
    grid = PointGrid.for_image(8, 96, (8,))
    box = [0.0, 0.0, 96.0, 8.0]
    scores = torch.full((1, 12, 1), 0.5)
    boxes = grid.centers_P2.repeat(1, 2)[None].clone()
    boxes[0, 0] = torch.tensor(box)  # point 0 is perfect, but 44 px from the centre: more than 20
    found = SimOTA()(grid, Predictions(scores, boxes), truths([box]))
    assert found.point_K.tolist() == [4]  # x = 36: the first within 20 px of 48
    boxes[0, :2] = torch.tensor(box)
    wide = SimOTA(center_radius=0.6)(grid, Predictions(scores, boxes), truths([box]))
    assert wide.point_K.tolist() == [5, 6]  # within 4.8 px of 48


def test_conflict_goes_to_the_lowest_cost() -> None:
    grid = PointGrid.for_image(8, 8, (8,))
    poor, good = [0.0, 0.0, 8.0, 4.5], [0.0, 0.0, 8.0, 8.0]
    predictions = copies(grid, good)
    assert rows(SimOTA()(grid, predictions, truths([poor, good]))) == {(0, 0): (1, 1.0, 1.0)}
    assert rows(SimOTA()(grid, predictions, truths([good, poor]))) == {(0, 0): (0, 1.0, 1.0)}


def test_a_score_of_zero_outweighs_a_perfect_box() -> None:
    """The log of 0 counts as -100, so a score of 0 costs 100; no overlap costs 48."""
    grid = PointGrid.for_image(8, 16, (8,))
    box = [0.0, 0.0, 16.0, 8.0]
    predictions = Predictions(torch.tensor([[[0.0], [0.5]]]), torch.tensor([[box, [0.0, 0.0, 0.0, 0.0]]]))
    assert SimOTA()(grid, predictions, truths([box])).point_K.tolist() == [1]


def test_center_region_ignores_the_box() -> None:
    grid = PointGrid.for_image(64, 64, (8,))
    tiny = [13.0, 13.0, 15.0, 15.0]
    found = SimOTA(region="center", center_radius=1.5)(grid, copies(grid, tiny), truths([tiny]))
    offset = (grid.centers_P2[found.point_K] - 14.0).abs()
    assert len(found) == 9
    assert bool((offset < 12.0).all())


def test_k_does_not_depend_on_the_order_in_which_a_device_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    """These seven IoUs add up to 4 from the largest on, and to a little less from the smallest on."""
    heights = [23, 20, 18, 16, 10, 5, 4]
    grid, box = PointGrid.for_image(8, 56, (8,)), [0.0, 0.0, 56.0, 24.0]
    boxes = torch.tensor([[[0.0, 0.0, 56.0, float(height)] for height in heights]])
    predictions = Predictions(torch.full((1, 7, 1), 0.5), boxes)
    index_add = torch.Tensor.index_add_

    def reversed_add(self: torch.Tensor, dim: int, index: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        return index_add(self, dim, index.flip(0), source.flip(0))

    monkeypatch.setattr(torch.Tensor, "index_add_", reversed_add)
    for assigner in (SimOTA(), DSLA()):
        assert len(assigner(grid, predictions, truths([box]))) == 4
