"""TaskAligned against its oracle, and cases that a person can follow."""

from functools import partial

import pytest
import torch

from assigners import PointGrid, Predictions, TaskAligned
from tests.helpers.assigner_cases import CASES, copies, truths
from tests.helpers.assigner_check import agree, rows
from tests.oracles.task_aligned import task_aligned


@pytest.mark.parametrize("name", ["tal", "tal-everywhere", "tal-reach", "tal-one-to-one", "tal-small"])
def test_agrees_with_the_oracle(name: str) -> None:
    agree(*CASES[name])


@pytest.mark.parametrize("candidates", ["inside", "everywhere"])
@pytest.mark.parametrize(("topk", "alpha", "beta"), [(1, 1.0, 6.0), (3, 0.5, 2.0), (500, 2.0, 1.0)])
def test_options_agree_with_the_oracle(candidates: str, topk: int, alpha: float, beta: float) -> None:
    options = {"topk": topk, "alpha": alpha, "beta": beta, "candidates": candidates}
    agree(TaskAligned(**options), partial(task_aligned, **options), examples=25)


@pytest.mark.parametrize("candidates", ["inside", "everywhere"])
@pytest.mark.parametrize("reach", [1.0, 1.5, 3.0])
def test_reach_agrees_with_the_oracle(candidates: str, reach: float) -> None:
    options = {"candidates": candidates, "reach": reach}
    agree(TaskAligned(**options), partial(task_aligned, **options), examples=30)


@pytest.mark.parametrize("candidates", ["inside", "everywhere"])
def test_a_box_is_left_to_the_levels_that_can_express_it(candidates: str) -> None:
    """Within 7 strides: P3 reaches all sides of a box of up to 112 px, from its middle, and P4 of 224."""
    grid = PointGrid.for_image(256, 256, (8, 16))
    for side, level in ((104.0, 0), (120.0, 1), (208.0, 1)):
        box = [0.0, 0.0, side, side]
        assigner = TaskAligned(topk=2000, candidates=candidates, reach=7)
        point_K = assigner(grid, copies(grid, box), truths([box])).point_K
        assert len(point_K) > 0
        distance_K4 = torch.cat((grid.centers_P2, side - grid.centers_P2), dim=1)[point_K]
        assert bool((distance_K4 <= 7 * grid.stride_P[point_K, None]).all())
        assert int(point_K.min() >= grid.level_slices[1].start) == level


def test_reach_is_included_and_a_truth_out_of_reach_stays_empty() -> None:
    grid = PointGrid.for_image(8, 8, (8,))
    for side, count in ((8.0, 1), (8.25, 0)):  # the point at 4, 4 is 4 px from the low sides, half a stride
        box = [0.0, 0.0, 8.0, side]
        assert len(TaskAligned(reach=0.5)(grid, copies(grid, box), truths([box]))) == count


def test_reach_must_be_positive() -> None:
    with pytest.raises(ValueError, match="reach must be above 0, or None, got 0"):
        TaskAligned(reach=0)


def test_the_k_best_inside_points_and_their_scores() -> None:
    grid = PointGrid.for_image(8, 32, (8,))
    box = [0.0, 0.0, 32.0, 8.0]
    scores = torch.tensor([[[0.25], [1.0], [0.5], [0.75]]])
    boxes = torch.tensor([[box, [0.0, 0.0, 16.0, 8.0], box, [0.0, 0.0, 24.0, 8.0]]])
    # t = .25, 1/64, .5, .75^7 = .1335; the best of them has t .5, the best IoU is 1
    found = rows(TaskAligned(topk=3)(grid, Predictions(scores, boxes), truths([box])))
    assert {key: row[0] for key, row in found.items()} == {(0, 0): 0, (0, 2): 0, (0, 3): 0}
    assert [found[0, p][1] for p in (0, 2, 3)] == pytest.approx([0.5, 1.0, 0.75**7 / 0.5])
    assert all(row[2] == 1.0 for row in found.values())


def test_ties_go_to_the_lower_points() -> None:
    grid = PointGrid.for_image(64, 64, (8,))
    box = [0.0, 0.0, 64.0, 64.0]
    assert TaskAligned()(grid, copies(grid, box), truths([box])).point_K.tolist() == list(range(13))


@pytest.mark.parametrize("candidates", ["inside", "everywhere"])
@pytest.mark.parametrize("points", [33, 37])
def test_ties_hold_whatever_the_iou(candidates: str, points: int) -> None:
    """Equal points must get equal t wherever they lie in a long tensor (SIMD body or tail)."""
    grid, width = PointGrid.for_image(8, 8 * points, (8,)), 8.0 * points
    for height in range(20, 64):
        predictions = copies(grid, [0.0, 0.0, width, height / 8])
        found = TaskAligned(candidates=candidates)(grid, predictions, truths([[0.0, 0.0, width, 8.0]]))
        assert found.point_K.tolist() == list(range(13)), height


def test_conflict_goes_to_the_highest_iou_not_the_highest_t() -> None:
    grid = PointGrid.for_image(8, 8, (8,))
    first, second = [0.0, 0.0, 8.0, 6.0], [0.0, 0.0, 8.0, 8.0]
    truth = truths([first, second])
    truth.labels_G[1] = 1
    predictions = Predictions(torch.tensor([[[1.0, 0.01]]]), torch.tensor([[[0.0, 0.0, 8.0, 7.5]]]))
    for candidates in ("inside", "everywhere"):
        found = TaskAligned(candidates=candidates)(grid, predictions, truth)
        assert found.truth_K.tolist() == [1]  # IoU 7.5/8 against 6/7.5


def test_a_truth_that_did_not_claim_may_win_a_contested_point() -> None:
    """With "inside" only: all truths that the point lies inside take part."""
    grid = PointGrid.for_image(8, 16, (8,))
    third = [0.0, 0.0, 16.0, 8.0]  # its one claim (topk 1) is point 1, where its t is highest
    truth = truths([[0.0, 0.0, 9.0, 8.0], [0.0, 0.0, 8.0, 8.0], third])
    truth.labels_G[2] = 1
    scores = torch.tensor([[[1.0, 0.25], [1.0, 1.0]]])
    boxes = torch.tensor([[[0.0, 0.0, 13.0, 8.0], third]])
    inside = TaskAligned(topk=1)(grid, Predictions(scores, boxes), truth)
    assert inside.truth_K.tolist() == [2, 2]
    everywhere = TaskAligned(topk=1, candidates="everywhere")(grid, Predictions(scores, boxes), truth)
    assert everywhere.dense(1, 2).tolist()[0][1] == 2


def test_everywhere_lets_outside_points_use_up_the_k() -> None:
    grid = PointGrid.for_image(8, 32, (8,))
    box = [0.0, 0.0, 8.0, 8.0]
    scores = torch.tensor([[[0.5], [1.0], [1.0], [0.25]]])
    predictions = Predictions(scores, torch.tensor(box).expand(1, 4, 4))
    assert TaskAligned(topk=2)(grid, predictions, truths([box])).point_K.tolist() == [0]
    assert len(TaskAligned(topk=2, candidates="everywhere")(grid, predictions, truths([box]))) == 0
    assert len(TaskAligned(topk=3, candidates="everywhere")(grid, predictions, truths([box]))) == 1


@pytest.mark.parametrize("candidates", ["inside", "everywhere"])
def test_nothing_aligned_nothing_positive(candidates: str) -> None:
    grid = PointGrid.for_image(32, 32, (8,))
    box = [0.0, 0.0, 32.0, 32.0]
    assigner = TaskAligned(candidates=candidates)
    assert len(assigner(grid, copies(grid, box, score=0.0), truths([box]))) == 0
    assert len(assigner(grid, copies(grid, None, score=1.0), truths([box]))) == 0


def test_a_short_side_counts_as_the_smallest_one() -> None:
    """8 px around (32, 32) hold no point of stride 8, which lie at 28 and 36; 16 px hold four."""
    grid = PointGrid.for_image(64, 64, (8,))
    box = [28.0, 28.0, 36.0, 36.0]
    assert len(TaskAligned()(grid, copies(grid, box), truths([box]))) == 0
    points = TaskAligned(min_side=16)(grid, copies(grid, box), truths([box])).point_K
    assert [(8 * row + 4, 8 * column + 4) for row, column in divmod_all(points.tolist(), 8)] == [
        (28, 28), (28, 36), (36, 28), (36, 36),
    ]  # fmt: skip


def divmod_all(values: list[int], by: int) -> list[tuple[int, int]]:
    return [divmod(value, by) for value in values]


def test_a_truth_that_lost_its_points_takes_a_free_one() -> None:
    """Both truths want the first point, which predicts the first one better; the other three are free."""
    grid = PointGrid.for_image(8, 32, (8,))
    first, second = [0.0, 0.0, 32.0, 8.0], [0.0, 0.0, 31.0, 8.0]
    scores = torch.tensor([[[0.9], [0.1], [0.2], [0.1]]])
    predictions = Predictions(scores, torch.tensor(first).expand(1, 4, 4))
    alone = rows(TaskAligned(topk=1)(grid, predictions, truths([first, second])))
    assert {key: row[0] for key, row in alone.items()} == {(0, 0): 0}
    both = rows(TaskAligned(topk=1, min_points=1)(grid, predictions, truths([first, second])))
    assert {key: row[0] for key, row in both.items()} == {(0, 0): 0, (0, 2): 1}


@pytest.mark.parametrize("options", [{"keep": 0}, {"min_side": -1.0}, {"min_points": -1}])
def test_impossible_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        TaskAligned(**options)
