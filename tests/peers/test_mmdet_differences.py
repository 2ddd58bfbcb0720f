"""Where mmdetection answers otherwise: one small case per difference, with both answers."""

import pytest
import torch
from torch import Tensor

from tests.helpers.peer_cases import Batch, ask, dense

from_mmdet = pytest.importorskip("benchmarks.peers.from_mmdet")

from assigners import ATSS, GroundTruth, PointGrid, Predictions, SimOTA, TaskAligned  # noqa: E402

PEERS = {peer.assigner: peer for peer in from_mmdet.PEERS}
OURS = {"atss": ATSS(), "tal": TaskAligned(candidates="everywhere"), "simota": SimOTA()}
ROW = PointGrid.for_image(8, 64, (8,))  # points at x = 4, 12, ..., 60 and y = 4


def batch(grid: PointGrid, truths: list[list[float]], predicted: Tensor | None = None) -> Batch:
    """One image, one class, p = 1/2 everywhere; `predicted` is (P, 4)."""
    boxes_P4 = grid.centers_P2.repeat(1, 2) if predicted is None else predicted
    boxes = torch.tensor(truths).reshape(-1, 4)
    return Batch(
        grid,
        Predictions(torch.full((1, len(grid), 1), 0.5), boxes_P4[None]),
        GroundTruth.from_list([(boxes, torch.zeros(len(boxes), dtype=torch.long))]),
    )


def both(name: str, case: Batch) -> tuple[list[int], list[int]]:
    """The truth of every point: ours, theirs."""
    ours_BP, _ = dense(OURS[name](case.grid, case.predictions, case.truth), case)
    return ours_BP[0].tolist(), ask(PEERS[name], case)[0][0].tolist()


def owners(points: int, **truths: list[int]) -> list[int]:
    """owners(3, t1=[0, 2]): points 0 and 2 belong to truth 1, the others to none."""
    row = [-1] * points
    for name, chosen in truths.items():
        for point in chosen:
            row[point] = int(name[1:])
    return row


def test_atss_there_wants_points_a_hundredth_of_a_pixel_inside() -> None:
    grid = PointGrid.for_image(8, 16, (8,))
    assert both("atss", batch(grid, [[3.995, 0.0, 11.0, 8.0]])) == ([0, -1], [-1, -1])
    assert both("atss", batch(grid, [[3.985, 0.0, 11.0, 8.0]])) == ([0, -1], [0, -1])


def test_tal_there_wants_points_a_hundredth_of_a_pixel_inside() -> None:
    copies_P4 = torch.tensor([[3.995, 0.0, 11.0, 8.0]]).expand(len(ROW), 4)
    assert both("tal", batch(ROW, [[3.995, 0.0, 11.0, 8.0]], copies_P4)) == (
        owners(8, t0=[0]),
        owners(8),
    )


def test_a_truth_with_a_single_candidate_gets_nothing_from_atss_there() -> None:
    assert both("atss", batch(PointGrid.for_image(8, 8, (8,)), [[0.0, 0.0, 8.0, 8.0]])) == ([0], [-1])


def test_candidates_of_equal_iou_may_miss_their_own_mean_in_atss_there() -> None:
    # On a single level every anchor holds the whole truth. Nine times the same float32, summed and divided,
    # may be more than each; which truths it hits depends on the order of the sum.
    grid = PointGrid.for_image(24, 24, (8,))
    answers = [both("atss", batch(grid, [[1.0, 1.0, width / 10, 23.0]])) for width in range(50, 230, 2)]
    assert all(0 in ours for ours, _ in answers)
    assert any(0 not in theirs for _, theirs in answers)
    assert all(theirs in (ours, owners(9)) for ours, theirs in answers)


def test_an_alignment_of_a_billionth_is_positive_in_tal_there() -> None:
    # IoU 1/40: t = 0.5 / 40^6 = 1.2e-10.
    thin_P4 = torch.tensor([[0.0, 0.0, 0.2, 8.0]]).expand(len(ROW), 4)
    ours, theirs = both("tal", batch(ROW, [[0.0, 0.0, 8.0, 8.0]], thin_P4))
    assert ours == owners(8)
    assert theirs == owners(8, t0=[0])


def test_simota_there_buys_far_away_what_the_truth_has_no_points_for() -> None:
    # Truth 1 lies between points 5 and 6, and point 1, within truth 0, predicts it best.
    large, small = [0.0, 0.0, 20.0, 8.0], [47.0, 1.0, 49.0, 3.0]
    boxes_P4 = ROW.centers_P2.repeat(1, 2)
    boxes_P4[0], boxes_P4[1] = torch.tensor(large), torch.tensor(small)
    boxes_P4[6] = torch.tensor([46.0, 0.0, 56.0, 8.0])
    ours, theirs = both("simota", batch(ROW, [large, small], boxes_P4))
    # Here it does not go without: it buys in its own centre square, at the same penalty.
    assert ours == owners(8, t0=[0], t1=[6])
    assert theirs == owners(8, t0=[0], t1=[1])


def test_simota_there_serves_truths_outside_the_image() -> None:
    ours, theirs = both("simota", batch(ROW, [[66.0, 0.0, 70.0, 8.0]]))
    assert ours == owners(8)
    assert sum(truth == 0 for truth in theirs) == 1


@pytest.mark.parametrize("box", [[20.0, 0.0, 20.0, 8.0], [24.0, 0.0, 16.0, 8.0]], ids=["flat", "inverted"])
def test_simota_there_serves_boxes_without_area(box: list[float]) -> None:
    ours, theirs = both("simota", batch(ROW, [box]))
    assert ours == owners(8)
    assert sum(truth == 0 for truth in theirs) == 1


@pytest.mark.parametrize("name", ["atss", "tal", "simota"])
def test_of_two_truths_alike_the_first_wins_in_both(name: str) -> None:
    grid, box = PointGrid.for_image(64, 64, (8, 16, 32)), [1.0, 2.0, 61.0, 63.0]
    reach_P1 = 20 + torch.rand(len(grid), 1, generator=torch.Generator().manual_seed(0))
    boxes_P4 = grid.centers_P2.repeat(1, 2) + reach_P1 * torch.tensor([-1.0, -1.0, 1.0, 1.0])
    ours, theirs = both(name, batch(grid, [box, box], boxes_P4))
    assert 0 in ours
    assert 1 not in ours
    assert theirs == ours


@pytest.mark.parametrize("name", ["atss", "tal", "simota"])
def test_an_image_without_truths_is_background_in_both(name: str) -> None:
    assert both(name, batch(ROW, [])) == (owners(8), owners(8))
