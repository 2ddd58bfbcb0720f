"""ATSS on the quality of predictions, for the auxiliary loss of DeFCN (arXiv 2012.03544, section 3.4).

Shape legend: P points, L levels, G truths, M pairs (truth, point) of positive quality, K positives;
Z and S as in core.overlaps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .core.boxes import iou, take, usable
from .core.overlaps import blocks_of, overlapping
from .core.pairs import Pairs, assignment, exact, probability
from .core.quality import quality
from .core.ranking import best_per_cell, counts, top_per_truth
from .core.types import Assigner, Assignment, GroundTruth, PointGrid, Predictions


class QualityATSS(Assigner):
    """Many positives per truth, by the same quality by which POTO chooses one.

    Args:
        topk: candidates per truth and level.
        alpha: quality q = p^(1 - alpha) x IoU^alpha, 0 where the boxes do not overlap.
    """

    def __init__(self, topk: int = 9, alpha: float = 0.8) -> None:
        if topk < 1:
            raise ValueError(f"topk must be at least 1, got {topk}")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
        self.topk, self.alpha = topk, alpha

    @exact
    def __call__(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
    ) -> Assignment:
        """The positives of a batch; `progress` is ignored."""
        # 1. Quality of all points, and 2. the best `topk` of each level; a quality of 0 is left out here.
        pairs, q_M = self._candidates(grid, predictions, truth)
        # 3. Threshold: mean + standard deviation of a truth's candidates, those of quality 0 included.
        count = sum(min(self.topk, part.stop - part.start) for part in grid.level_slices)
        threshold_G = _threshold(pairs.truth_M, q_M, count, len(truth))
        # 4. Positive: at least the threshold, and inside the truth.
        boxes_G4 = truth.boxes_G4.float()
        box_M4 = take(boxes_G4, pairs.truth_M)
        center_M2 = take(grid.centers_P2, pairs.point_M)
        inside_M = (center_M2 > box_M4[:, :2]).all(1) & (center_M2 < box_M4[:, 2:]).all(1)
        inside_M &= usable(boxes_G4, grid)[pairs.truth_M]
        row_K = (inside_M & (q_M.double() >= threshold_G[pairs.truth_M])).nonzero().squeeze(1)
        # 5. A contested point goes to the highest quality.
        cell_M = pairs.cells(truth, len(grid))
        row_K = row_K[best_per_cell(cell_M[row_K], q_M[row_K], predictions.cells)]
        one_K = torch.ones_like(row_K, dtype=torch.float32)
        return assignment(pairs[row_K], truth, one_K, one_K)

    def _candidates(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth
    ) -> tuple[Pairs, Tensor]:
        """The best pairs of each truth and level with a quality above 0, and these qualities."""
        truths, points, values = [truth.image_G[:0]], [truth.image_G[:0]], [truth.boxes_G4.new_zeros(0)]
        blocks = blocks_of(predictions)
        for truth_Z, block_Z in overlapping(blocks, truth):
            point_ZS = blocks.points(block_Z)
            at = truth.image_G[truth_Z, None], point_ZS, truth.labels_G[truth_Z, None]
            iou_ZS = iou(blocks.boxes(block_Z), truth.boxes_G4[truth_Z, None].float())
            q_ZS = quality(probability(predictions.scores_BPC[at]), iou_ZS, self.alpha)
            row_M, column_M = ((iou_ZS > 0) & (q_ZS > 0)).nonzero().unbind(1)
            part = truth_Z[row_M], point_ZS[row_M, column_M], q_ZS[row_M, column_M]
            truth_M, point_M, q_M = self._best(grid, len(truth), *part)
            truths.append(truth_M)
            points.append(point_M)
            values.append(q_M)
        # Once more, since the blocks of a truth may come in several parts.
        parts = torch.cat(truths), torch.cat(points), torch.cat(values)
        truth_M, point_M, q_M = self._best(grid, len(truth), *parts)
        order_M = (truth_M * len(grid) + point_M).argsort()
        return Pairs(truth_M[order_M], point_M[order_M]), q_M[order_M]

    def _best(
        self, grid: PointGrid, count: int, truth_M: Tensor, point_M: Tensor, q_M: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The best `topk` of each of `count` truths and each level."""
        # Ties go to the lower point, but blocks are not in the order of points.
        order_M = (truth_M * len(grid) + point_M).argsort()
        truth_M, point_M, q_M = truth_M[order_M], point_M[order_M], q_M[order_M]
        level_M = grid.level_of(point_M)
        parts = Pairs(truth_M * len(grid.strides) + level_M, point_M)
        best_M = top_per_truth(parts, q_M, self.topk, count * len(grid.strides))
        return truth_M[best_M], point_M[best_M], q_M[best_M]


def _threshold(truth_M: Tensor, q_M: Tensor, count: int, truths: int) -> Tensor:
    """Mean + standard deviation (unbiased) of `count` qualities per truth, of which those not in M are 0."""
    # float64, so that candidates of one quality reach their own mean.
    zero_G = torch.zeros(truths, dtype=torch.float64, device=q_M.device)
    mean_G = zero_G.scatter_add(0, truth_M, q_M.double()) / count
    given_G = counts(truth_M, truths)
    square_G = zero_G.scatter_add(0, truth_M, (q_M.double() - mean_G[truth_M]) ** 2)
    square_G = square_G + (count - given_G) * mean_G**2
    return mean_G + (square_G / max(1, count - 1)).sqrt()
