"""Where ultralytics answers otherwise: one small case per difference, with both answers."""

import math

import pytest
import torch
from torch import Tensor

from tests.helpers.peer_cases import Batch, ask, dense

from_ultralytics = pytest.importorskip("benchmarks.peers.from_ultralytics")

from assigners import GroundTruth, PointGrid, Predictions, TaskAligned  # noqa: E402

PEER = from_ultralytics.PEERS[0]
GRID = PointGrid.for_image(32, 32, (8, 16))  # 4 rows of 4 points, then 2 rows of 2
WHOLE = [0.0, 0.0, 32.0, 32.0]


def batch(
    truths: list[list[float]], predicted: Tensor | None = None, labels: list[int] | None = None
) -> Batch:
    """One image of two classes, p = (1/2, 0) everywhere; all points predict `predicted`, or (P, 4)."""
    boxes_P4 = torch.zeros(len(GRID), 4) if predicted is None else predicted.expand(len(GRID), 4)
    boxes = torch.tensor(truths).reshape(-1, 4)
    return Batch(
        GRID,
        Predictions(torch.tensor([0.5, 0.0]).expand(1, len(GRID), 2), boxes_P4[None]),
        GroundTruth.from_list([(boxes, torch.tensor(labels or [0] * len(truths), dtype=torch.long))]),
    )


def ours(case: Batch) -> tuple[Tensor, Tensor]:
    """Truth and score of every point, (P,)."""
    truth_BP, score_BP = dense(TaskAligned()(case.grid, case.predictions, case.truth), case)
    return truth_BP[0], score_BP[0]


def theirs(case: Batch) -> tuple[Tensor, Tensor]:
    truth_BP, score_BP = ask(PEER, case)
    return truth_BP[0], score_BP[0]


def test_ciou_there_lowers_the_score_of_boxes_out_of_place_or_shape() -> None:
    case = batch([WHOLE], torch.tensor([0.0, 0.0, 32.0, 16.0]))
    shape = 4 / math.pi**2 * (math.atan(2) - math.atan(1)) ** 2
    ciou = 0.5 - 8**2 / (32**2 + 32**2) - shape**2 / (1 - 0.5 + shape)
    assert float(ours(case)[1].max()) == pytest.approx(0.5)
    assert float(theirs(case)[1].max()) == pytest.approx(ciou, rel=1e-4)


def test_truths_below_the_second_stride_take_points_around_them_there() -> None:
    # 4 px, between points; a side of 16 px around it holds four points of stride 8 and none of stride 16.
    small = [14.0, 14.0, 18.0, 18.0]
    case = batch([small], torch.tensor(small))
    assert bool((ours(case)[0] == -1).all())
    assert (theirs(case)[0] == 0).nonzero().flatten().tolist() == [5, 6, 9, 10]


def test_points_without_alignment_are_positives_of_score_0_there() -> None:
    case = batch([WHOLE], torch.tensor([40.0, 40.0, 50.0, 50.0]))
    truth_P, score_P = theirs(case)
    assert bool((ours(case)[0] == -1).all())
    assert int((truth_P == 0).sum()) == 13
    assert float(score_P.max()) == 0


def test_a_claim_without_alignment_contests_a_point_there() -> None:
    # Truth 1 has probability 0 but the better IoU: here it makes no claim, so nothing is contested.
    inner = [0.0, 0.0, 20.0, 20.0]
    case = batch([WHOLE, inner], torch.tensor(inner), labels=[0, 1])
    assert set(ours(case)[0].tolist()) == {0, -1}
    assert 1 in theirs(case)[0].tolist()


def test_a_contest_without_overlap_goes_to_the_first_truth_of_the_image_there() -> None:
    # Truths 1 and 2 claim 13 of the 20 points each, with an IoU of 0; truth 0 is a corner without points.
    corner = [0.0, 0.0, 0.5, 0.5]
    case = batch([corner, WHOLE, WHOLE], torch.tensor([40.0, 40.0, 50.0, 50.0]))
    truth_P, score_P = theirs(case)
    assert bool((ours(case)[0] == -1).all())
    assert int((truth_P[GRID.centers_P2.amin(1) > 8.25] == 0).sum()) > 0
    assert float(score_P.max()) == 0


def test_the_divisor_of_the_scores_has_an_eps_there() -> None:
    # t = 0.5 x 0.0375^6 = 1.4e-9, so that 1e-9 more in the divisor takes two fifths.
    thin_4 = torch.tensor([15.4, 0.0, 16.6, 32.0])
    case = batch([WHOLE], thin_4)
    score_P, their_score_P = ours(case)[1], theirs(case)[1]
    assert float(score_P.max()) == pytest.approx(0.0375, rel=1e-4)
    assert 0 <= float(their_score_P.max()) < 0.6 * 0.0375


def test_fewer_points_than_topk_are_an_error_there() -> None:
    grid = PointGrid.for_image(16, 16, (8,))
    inputs = (
        grid,
        Predictions(torch.full((1, 4, 2), 0.5), torch.tensor([[WHOLE] * 4])),
        GroundTruth.from_list([(torch.tensor([WHOLE]), torch.tensor([0]))]),
    )
    assert len(TaskAligned()(*inputs)) == 4
    with pytest.raises(RuntimeError):
        PEER.prepare(*inputs)()


def test_of_two_truths_alike_the_first_wins_in_both() -> None:
    case = batch([WHOLE, WHOLE], GRID.centers_P2.repeat(1, 2) + torch.tensor([-9.0, -8.0, 8.5, 9.5]))
    assert torch.equal(ours(case)[0] >= 0, theirs(case)[0] >= 0)
    assert set(ours(case)[0].tolist()) == set(theirs(case)[0].tolist()) == {0, -1}


def test_a_batch_without_truths_is_background_in_both() -> None:
    for answer in (ours(batch([])), theirs(batch([]))):
        assert bool((answer[0] == -1).all())
        assert float(answer[1].max()) == 0
