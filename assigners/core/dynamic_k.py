"""The k points of lowest cost of each truth, k from the IoUs of its predictions: shared by SimOTA and DSLA.

Shape legend: B images, P points, G truths, C classes, M candidate pairs, F foreground points, R truths of one
slice, N points that a truth of the slice is compared with, or overlaps that count; T the largest IoUs of a
truth; K chosen rows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .boxes import iou
from .overlaps import blocks_of, overlapping
from .pairs import Pairs, counts, probability, rank_key, rank_within, ranked
from .types import GroundTruth, Predictions

SLICE = 2**11  # points whose classes are summed at once: what fits a cache


def foreground(cell_M: Tensor, predictions: Predictions) -> Tensor:
    """The points of any candidate pair, (B, P) bool."""
    foreground_BP = torch.zeros(predictions.boxes_BP4.shape[:2], dtype=torch.bool, device=cell_M.device)
    foreground_BP.view(-1)[cell_M] = True
    return foreground_BP


def background_cost(
    predictions: Predictions, foreground_BP: Tensor, cost: Callable[[Tensor], Tensor]
) -> Tensor:
    """The class cost of a point if all classes are background, (B x P,); 0 where it is not foreground.

    Args:
        cost: of one probability whose target is 0, element by element.
    """
    cost_P = torch.zeros_like(foreground_BP, dtype=torch.float32).view(-1)
    scores_PC = predictions.scores_BPC.flatten(0, 1)
    # In slices: all scores of a crowded batch at once would be the largest tensor by far.
    for point_F in foreground_BP.view(-1).nonzero().squeeze(1).split(SLICE):
        cost_P[point_F] = cost(probability(scores_PC.index_select(0, point_F))).sum(1)
    return cost_P


def cheapest(
    pairs: Pairs,
    cost_M: Tensor,
    iou_M: Tensor,
    foreground_BP: Tensor,
    predictions: Predictions,
    truth: GroundTruth,
    candidate_topk: int,
) -> tuple[Tensor, Tensor]:
    """Some rows of the pairs, (N,), and which of them are the k cheapest of their truth.

    k is the floored sum of the truth's `candidate_topk` largest IoUs.
    """
    # No k exceeds candidate_topk; and as the cheapest points are good ones, an IoU below all of theirs cannot
    # be among the candidate_topk largest.
    row_N, top_N = ranked(pairs, rank_key(-cost_M), candidate_topk, len(truth))
    truth_N = pairs.truth_M.index_select(0, row_N)
    iou_N = iou_M.index_select(0, row_N).masked_fill_(~top_N, 1.0)
    least_G = iou_M.new_ones(len(truth)).scatter_reduce_(0, truth_N, iou_N, "amin")
    count_G = counts(truth_N, len(truth))
    least_G.masked_fill_(count_G < candidate_topk, 0.0)
    k_G = _dynamic_k(predictions, truth, foreground_BP, least_G, candidate_topk)
    return row_N, rank_within(truth_N, count_G) < k_G.index_select(0, truth_N)


def _dynamic_k(
    predictions: Predictions, truth: GroundTruth, foreground_BP: Tensor, least_G: Tensor, topk: int
) -> Tensor:
    """The floored sum of the largest IoUs over all foreground points of the image, (G,), at least 1."""
    truths, ious = [truth.image_G[:0]], [least_G[:0]]
    blocks = blocks_of(predictions, foreground_BP)
    for truth_R, block_RT in overlapping(blocks, truth, least_G):
        iou_RN = iou(blocks.boxes(block_RT), truth.boxes_G4[truth_R, None].float())
        row_N, column_N = ((iou_RN >= least_G[truth_R, None]) & (iou_RN > 0)).nonzero(as_tuple=True)
        truths.append(truth_R[row_N])
        ious.append(iou_RN[row_N, column_N])
    truth_N, iou_N = torch.cat(truths), torch.cat(ious)
    row_K, _ = ranked(Pairs(truth_N, truth_N), iou_N.view(torch.int32), topk, len(truth))
    truth_K = truth_N[row_K]
    # One row per truth, the largest first; what is not among them goes into a column that is dropped.
    column_K = rank_within(truth_K, counts(truth_K, len(truth))).clamp_(max=topk)
    iou_GT = iou_N.new_zeros(len(truth), topk + 1)
    iou_GT[truth_K, column_K] = iou_N[row_K]
    # Column by column, the largest first: rounding decides some k, so the order is the same on any device.
    sum_G = iou_N.new_zeros(len(truth))
    for iou_G in iou_GT.unbind(1)[:topk]:
        sum_G += iou_G
    return sum_G.long().clamp(min=1)
