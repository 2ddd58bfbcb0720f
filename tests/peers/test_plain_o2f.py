"""O2F against its plain form: every truth against every point, one image after the other."""

import pytest
import torch

from assigners import O2F, GroundTruth, PointGrid, Predictions
from benchmarks.peers import Peer, installed, plain
from tests.helpers.peer_borders import (
    close_call,
    close_contest,
    depth,
    on_border,
    overlaps,
    square_depth,
    top,
)
from tests.helpers.peer_cases import Batch, Picture, agree, batches, dense, pictures

PEER = next(peer for peer in installed() if peer.name == "plain O2F")


def decided(picture: Picture) -> bool:
    depth_NP, square_NP = depth(picture), square_depth(picture, plain.RADIUS)
    if on_border(depth_NP) or on_border(square_NP):
        return False
    iou_NP = overlaps(picture)
    q_NP = picture.p_NP ** (1 - plain.ALPHA) * iou_NP**plain.ALPHA
    q_NP = q_NP * ((depth_NP > 0) & (square_NP > 0))
    claim_NP = top(q_NP, plain.TOPK) & (q_NP > 0)
    # Which one is certain hangs on every rank.
    ranks = [top(q_NP, k) for k in range(1, plain.TOPK + 1)]
    contested_P = claim_NP.sum(0) > 1
    return not (any(close_call(q_NP, rank) for rank in ranks) or close_contest(q_NP * claim_NP, contested_P))


@pytest.mark.parametrize("progress", [0.0, 0.7, 1.0])
def test_o2f_is_its_plain_form(progress: float) -> None:
    def ours(*inputs):
        return O2F()(*inputs, progress=progress)

    peer = Peer("plain", "o2f", lambda *inputs: plain.o2f(*inputs, progress=progress), plain.dense)
    seen = agree(ours, peer, decided, count=150)
    assert seen["compared"] > 0.9 * seen["images"], seen
    assert seen["positives"] > 5 * seen["with truths"], seen


def test_weights_are_those_of_the_plain_form() -> None:
    compared = 0
    for batch in batches(60):
        assignment = O2F()(batch.grid, batch.predictions, batch.truth)
        weight_BP = torch.ones(len(batch.predictions.scores_BPC), len(batch.grid))
        weight_BP[assignment.image_K, assignment.point_K] = assignment.weight_K
        results = plain.o2f(batch.grid, batch.predictions, batch.truth)()
        for image, picture in enumerate(pictures(batch)):
            if len(picture.boxes_N4) and decided(picture):
                assert torch.equal(results[image][2], weight_BP[image])
                compared += 1
    assert compared > 60


def test_a_batch_without_truths_is_background() -> None:
    grid = PointGrid.for_image(32, 32, (8, 16))
    batch = Batch(
        grid,
        Predictions(torch.full((2, len(grid), 3), 0.5), torch.zeros(2, len(grid), 4)),
        GroundTruth.from_list([(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))] * 2),
    )
    truth_BP, score_BP = dense(O2F()(batch.grid, batch.predictions, batch.truth), batch)
    inputs = (batch.grid, batch.predictions, batch.truth)
    their_truth_BP, their_score_BP = PEER.dense(PEER.prepare(*inputs)(), *inputs)
    assert torch.equal(their_truth_BP, truth_BP)
    assert torch.equal(their_score_BP, score_BP)
    assert bool((truth_BP == -1).all())
