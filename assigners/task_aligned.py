"""TaskAligned assignment (TAL; TOOD, arXiv 2108.07755, section 3.2).

Shape legend: B images, P points, G truths, C classes, M candidate pairs, K positives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .core.boxes import iou, power, take
from .core.minimum import fill_up
from .core.overlaps import blocks_of, overlapping
from .core.pairs import (
    Pairs,
    assignment,
    best_per_cell,
    exact,
    points_within,
    predicted,
    probability,
    rank_key,
    ranked,
    settle_among_all,
    top_per_truth,
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
        p_M, boxes_M4 = predicted(pairs, cell_M, predictions, truth)
        iou_M = iou(boxes_M4, take(boxes_G4, pairs.truth_M))
        t_M = power(p_M, self.alpha) * power(iou_M, self.beta)
        # 3. The best of each truth; 4. one truth per point.
        if self.candidates == "inside":
            row_N, top_N = ranked(pairs, t_M.view(torch.int32), self.topk, truths)
            claims_N = top_N.logical_and_(t_M.index_select(0, row_N) > SMALLEST)
            row_K = settle_among_all(cell_M, row_N, claims_N, iou_M, predictions.cells)
        else:
            row_K = self._top_everywhere(grid, pairs, predictions, truth)
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
        self, grid: PointGrid, pairs: Pairs, predictions: Predictions, truth: GroundTruth
    ) -> Tensor:
        """The rows of the pairs that are among the top-k of their truth over all points of the image."""
        points = len(grid)
        keys = [pairs.truth_M[:0]]
        blocks = blocks_of(predictions)
        for truth_R, block_RT in overlapping(blocks, truth):
            point_RN = blocks.points(block_RT)
            at = truth.image_G[truth_R, None], point_RN, truth.labels_G[truth_R, None]
            p_RN = probability(predictions.scores_BPC[at])
            iou_RN = iou(blocks.boxes(block_RT), truth.boxes_G4[truth_R, None].float())
            t_RN = power(p_RN, self.alpha) * power(iou_RN, self.beta)
            # The complement of the point below the bits of t: ties to the lower point.
            key_RN = (rank_key(t_RN).long() << 30) + (2**30 - 1 - point_RN)
            best_Rk = key_RN.topk(min(self.topk, key_RN.shape[1]), dim=1).indices
            keys.append((truth_R[:, None] * points + point_RN.gather(1, best_Rk)).flatten())
        key_M = pairs.truth_M * points + pairs.point_M
        return torch.isin(key_M, torch.cat(keys)).nonzero().squeeze(1)


def _within_reach(grid: PointGrid, pairs: Pairs, boxes_G4: Tensor, reach: float) -> Tensor:
    """The rows of the pairs whose point is at most reach x stride away from every side of the truth."""
    center_M2, box_M4 = take(grid.centers_P2, pairs.point_M), take(boxes_G4, pairs.truth_M)
    farthest_M = torch.maximum(center_M2 - box_M4[:, :2], box_M4[:, 2:] - center_M2).amax(1)
    return (farthest_M <= reach * grid.stride_P[pairs.point_M]).nonzero().squeeze(1)
