"""The k points of lowest cost of each truth, k from the IoUs of its predictions: shared by SimOTA and DSLA.

Shape legend: B images, P points, G truths, C classes, M candidate pairs, F foreground points, N overlaps that
count, X the largest IoUs of a truth, K chosen rows; Z and S as in core.overlaps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .boxes import iou
from .overlaps import blocks_of, overlapping
from .pairs import Pairs, probability
from .ranking import kth_at_least, rank_key, rank_within, ranked, within_first
from .types import GroundTruth, Predictions

SLICE, SLICES = 2**11, 3  # points whose classes are summed at once, at least, and into how many parts at most


def foreground(cell_M: Tensor, predictions: Predictions) -> Tensor:
    """The cells, image x P + point, of any candidate pair, (F,), ascending."""
    foreground_P = torch.zeros(predictions.cells, dtype=torch.bool, device=cell_M.device)
    return foreground_P.index_fill_(0, cell_M, True).nonzero().squeeze(1)


def background_cost(predictions: Predictions, cell_F: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
    """The class cost of a cell if all classes are background, (B x P,); 0 where it is not foreground.

    Args:
        gain: less the cost of a probability whose target is 0, element by element.
    """
    scores_PC = predictions.scores_BPC.flatten(0, 1)
    # In slices: all scores of a crowded batch at once would be the largest tensor by far.
    parts = [
        gain(probability(scores_PC.index_select(0, cell_S))).sum(1)
        for cell_S in cell_F.split(max(SLICE, -(-len(cell_F) // SLICES)))
    ]
    cost_F = torch.cat(parts).neg_()
    return cost_F.new_zeros(predictions.cells).index_copy_(0, cell_F, cost_F)


def lowest_cost(
    pairs: Pairs,
    value_M: Tensor,
    iou_M: Tensor,
    cell_F: Tensor,
    predictions: Predictions,
    truth: GroundTruth,
    candidate_topk: int,
) -> tuple[Tensor, Tensor]:
    """Some rows of the pairs, (N,), and which of them are the k of lowest cost of their truth.

    k is the floored sum of the truth's `candidate_topk` largest IoUs. value_M is the negative cost.
    """
    # No k exceeds candidate_topk. An IoU below as many of the truth's own region cannot be among the largest.
    least_G = kth_at_least(pairs, iou_M.view(torch.int32), candidate_topk, len(truth))
    k_G = _dynamic_k(predictions, truth, cell_F, least_G, candidate_topk)
    row_N, truth_N = ranked(pairs, rank_key(value_M), candidate_topk, len(truth))
    return row_N, within_first(truth_N, k_G)


def _dynamic_k(
    predictions: Predictions, truth: GroundTruth, cell_F: Tensor, least_G: Tensor, topk: int
) -> Tensor:
    """The floored sum of the largest IoUs over all foreground points of the image, (G,), at least 1."""
    truths, ious = [], []
    boxes_G4 = truth.boxes_G4.float()
    blocks = blocks_of(predictions, cell_F)
    for truth_Z, block_Z in overlapping(blocks, truth, least_G):
        iou_ZS = iou(blocks.boxes(block_Z), boxes_G4.index_select(0, truth_Z)[:, None])
        least_Z1 = least_G.index_select(0, truth_Z)[:, None]
        row_N, column_N = (iou_ZS >= least_Z1).nonzero().unbind(1)
        truths.append(truth_Z.index_select(0, row_N))
        ious.append(iou_ZS[row_N, column_N])
    if not truths:
        return torch.ones_like(truth.image_G)
    truth_N, iou_N = (parts[0] if len(parts) == 1 else torch.cat(parts) for parts in (truths, ious))
    row_N, truth_N = ranked(Pairs(truth_N, truth_N), iou_N.view(torch.int32), topk, len(truth))
    # One row per truth, the largest first; what is not among them goes into a column that is dropped.
    column_N = rank_within(truth_N, len(truth)).clamp_(max=topk)
    iou_GX = iou_N.new_zeros(len(truth), topk + 1)
    iou_GX[truth_N, column_N] = iou_N[row_N]
    # float64 holds the sum of so few float32 exactly, in any order; the cast to float32 removes
    # the rounding of the IoUs.
    return iou_GX[:, :topk].sum(1, dtype=torch.float64).float().long().clamp_(min=1)
