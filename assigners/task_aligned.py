"""TaskAligned assignment (TAL; TOOD, arXiv 2108.07755, section 3.2).

Shape legend: B images, P points, G truths, C classes, M candidate pairs, K positives; N pairs
that may be among the best; Z and S as in core.overlaps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .core.boxes import iou, power, take
from .core.minimum import fill_up
from .core.overlaps import MARGIN, OVERLAP, blocks_of, overlapping
from .core.pairs import Pairs, assignment, exact, points_within, predicted_iou, probability
from .core.ranking import (
    ONE,
    best_per_cell,
    kth_at_least,
    rank_key,
    ranked,
    settle_among_all,
    top_per_truth,
    within_first,
)
from .core.types import Assigner, Assignment, GroundTruth, PointGrid, Predictions

SMALLEST = 1e-9  # an alignment at or below this counts as none


class TaskAligned(Assigner):
    """The points whose prediction is best aligned with the truth in class and in place.

    Args:
        topk: positives per truth before conflicts.
        alpha, beta: alignment t = p^alpha x IoU^beta.
        candidates: "inside" takes the top-k among the points inside the truth, and a contested point goes
            to the highest IoU of all truths around it (PaddleDetection). "everywhere" takes the top-k over
            all points, of which those inside stay, and a contested point goes to the highest IoU of its
            claimants (TOOD).
        reach: a point is no candidate for a truth with a side farther away than reach x stride, for heads
            that cannot express such a box; None for no limit. A truth that no level can reach stays empty.
        keep: positives per truth after conflicts, those of largest t; None for all that are left. topk = 7
            and keep = 1 is one-to-one assignment that survives the loss of a contested point.
        min_side: a side below this many pixels counts as this long in the inside test; 0 for as it is.
        min_points: a truth with fewer positives after conflicts takes free points inside it, largest t first,
            even t = 0; 0 for none.
    """

    def __init__(
        self,
        topk: int = 13,
        alpha: float = 1.0,
        beta: float = 6.0,
        candidates: str = "inside",
        reach: float | None = None,
        keep: int | None = None,
        min_side: float = 0.0,
        min_points: int = 0,
    ) -> None:
        if topk < 1:
            raise ValueError(f"topk must be at least 1, got {topk}")
        if candidates not in ("inside", "everywhere"):
            raise ValueError(f'candidates must be "inside" or "everywhere", got "{candidates}"')
        if reach is not None and reach <= 0:
            raise ValueError(f"reach must be above 0, or None, got {reach}")
        if keep is not None and keep < 1:
            raise ValueError(f"keep must be at least 1, or None, got {keep}")
        if min_side < 0 or min_points < 0:
            raise ValueError(f"min_side and min_points must be 0 or more, got {min_side} and {min_points}")
        self.topk, self.alpha, self.beta, self.candidates = topk, alpha, beta, candidates
        self.reach, self.keep, self.min_side, self.min_points = reach, keep, min_side, min_points

    @exact
    def __call__(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
    ) -> Assignment:
        """The positives of a batch; `progress` is ignored."""
        boxes_G4, truths = truth.boxes_G4.float(), len(truth)
        # 1. Candidates: the points inside the truth.
        low_G2, high_G2 = boxes_G4[:, :2], boxes_G4[:, 2:]
        if self.min_side:
            short_G2 = (self.min_side - (high_G2 - low_G2)).clamp(min=0) * 0.5
            low_G2, high_G2 = low_G2 - short_G2, high_G2 + short_G2
        pairs = points_within(grid, low_G2[:, None], high_G2[:, None], boxes_G4)
        if self.reach is not None:
            pairs = pairs[_within_reach(grid, pairs, boxes_G4, self.reach)]
        # 2. Alignment.
        cell_M = pairs.cells(truth, len(grid))
        p_M, iou_M = predicted_iou(pairs, cell_M, predictions, truth)
        t_M = power(p_M, self.alpha) * power(iou_M, self.beta)
        # 3. The best of each truth; 4. one truth per point.
        if self.candidates == "inside":
            row_N, truth_N = ranked(pairs, t_M.view(torch.int32), self.topk, truths, ONE)
            claims_N = within_first(truth_N, self.topk).logical_and_(t_M.index_select(0, row_N) > SMALLEST)
            row_K = settle_among_all(cell_M, row_N, claims_N, iou_M, predictions.cells)
        else:
            row_K = self._top_everywhere(grid, pairs, t_M, predictions, truth)
            row_K = row_K[t_M[row_K] > SMALLEST]
            row_K = row_K[best_per_cell(cell_M[row_K], iou_M[row_K], predictions.cells)]
        if self.keep is not None:
            row_K = row_K[top_per_truth(pairs[row_K], t_M[row_K], self.keep, truths)]
            row_K = row_K[cell_M[row_K].argsort()]
        if self.min_points:
            row_K = fill_up(pairs, cell_M, t_M, row_K, self.min_points, truths, predictions.cells)
        # 5. Targets: the alignment, scaled so that the best of a truth reaches its best IoU.
        truth_K, t_K, iou_K = pairs.truth_M[row_K], t_M[row_K], iou_M[row_K]
        best_t_G = t_K.new_zeros(truths).scatter_reduce(0, truth_K, t_K, "amax")
        best_iou_G = t_K.new_zeros(truths).scatter_reduce(0, truth_K, iou_K, "amax")
        # A point won by IoU alone can have t = 0 and be all that its truth has.
        score_K = t_K / best_t_G[truth_K].clamp(min=torch.finfo(torch.float32).tiny) * best_iou_G[truth_K]
        return assignment(pairs[row_K], truth, score_K, torch.ones_like(score_K))

    def _top_everywhere(
        self, grid: PointGrid, pairs: Pairs, t_M: Tensor, predictions: Predictions, truth: GroundTruth
    ) -> Tensor:
        """The rows of the pairs that are among the top-k of their truth over all points of the image."""
        points, boxes_G4 = len(grid), truth.boxes_G4.float()
        # So many pairs inside the truth already reach a t; as p is at most 1, a lower IoU^beta cannot.
        t_G = kth_at_least(pairs, t_M.view(torch.int32), self.topk, len(truth))
        least_G = t_G.double().pow(1 / self.beta).float() if self.beta > 0 else torch.full_like(t_G, OVERLAP)
        truths, cells, keys = [pairs.truth_M[:0]], [pairs.truth_M[:0]], [rank_key(t_M[:0])]
        blocks = blocks_of(predictions)
        for truth_Z, block_Z in overlapping(blocks, truth, least_G):
            iou_ZS = iou(blocks.boxes(block_Z), boxes_G4.index_select(0, truth_Z)[:, None])
            row_N, column_N = (iou_ZS >= least_G[truth_Z, None] * MARGIN).nonzero().unbind(1)
            truth_N = truth_Z[row_N]
            point_N = blocks.points(block_Z)[row_N, column_N]
            p_N = probability(
                predictions.scores_BPC[truth.image_G[truth_N], point_N, truth.labels_G[truth_N]]
            )
            t_N = power(p_N, self.alpha) * power(iou_ZS[row_N, column_N], self.beta)
            truths.append(truth_N)
            cells.append(truth_N * points + point_N)
            keys.append(t_N.view(torch.int32))
        cell_N, key_N = torch.cat(cells), torch.cat(keys)
        # Ties go to the lower point, but blocks are not in the order of points.
        cell_N, order_N = cell_N.sort()
        everywhere = Pairs(torch.cat(truths)[order_N], cell_N)
        row_N, truth_N = ranked(everywhere, key_N[order_N], self.topk, len(truth))
        return (
            torch.isin(
                pairs.truth_M * points + pairs.point_M, cell_N[row_N[within_first(truth_N, self.topk)]]
            )
            .nonzero()
            .squeeze(1)
        )


def _within_reach(grid: PointGrid, pairs: Pairs, boxes_G4: Tensor, reach: float) -> Tensor:
    """The rows of the pairs whose point is at most reach x stride away from every side of the truth."""
    center_M2, box_M4 = take(grid.centers_P2, pairs.point_M), take(boxes_G4, pairs.truth_M)
    farthest_M = torch.maximum(center_M2 - box_M4[:, :2], box_M4[:, 2:] - center_M2).amax(1)
    return (farthest_M <= reach * grid.stride_P[pairs.point_M]).nonzero().squeeze(1)
