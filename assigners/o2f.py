"""One-to-few assignment (O2F, arXiv 2303.11567, section 3).

Shape legend: B images, P points, G truths, M candidate pairs, K positives.
"""

from __future__ import annotations

import torch

from .core.pairs import assignment, exact, predicted_iou
from .core.quality import central_pairs, quality
from .core.ranking import ONE, best_per_cell, ranked, within_first
from .core.soft_labels import SoftLabels
from .core.types import Assigner, Assignment, GroundTruth, PointGrid, Predictions


class O2F(Assigner):
    """One certain positive per truth and a few soft ones, whose target falls as training goes on.

    The soft positives teach the features early; at the end they are nearly background, so that one
    detection per object remains and NMS has nothing to do.

    Args:
        topk: positives per truth before conflicts, the certain one included.
        alpha: quality q = p^(1 - alpha) x IoU^alpha.
        center_radius: half side of the centre square, in strides.
        t_max, t_min: the highest soft target at the start and at the end of training.
        soft_weight: the weight of a soft positive's classification term.
    """

    def __init__(
        self,
        topk: int = 7,
        alpha: float = 0.8,
        center_radius: float = 1.5,
        t_max: float = 0.6,
        t_min: float = 0.2,
        soft_weight: float = 0.4,
    ) -> None:
        if topk < 1:
            raise ValueError(f"topk must be at least 1, got {topk}")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
        if center_radius <= 0:
            raise ValueError(f"center_radius must be above 0, got {center_radius}")
        self.topk, self.alpha, self.center_radius = topk, alpha, center_radius
        self.labels = SoftLabels(t_max, t_min, soft_weight)

    def soft_target(self, progress: float) -> float:
        """T, the highest soft target after this share of training."""
        return self.labels.target(progress)

    @exact
    def __call__(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
    ) -> Assignment:
        """The positives of a batch; `progress` in [0, 1] sets the soft targets."""
        boxes_G4, truths = truth.boxes_G4.float(), len(truth)
        # 1. Candidates: the centre square, clipped to the truth.
        pairs = central_pairs(grid, boxes_G4, self.center_radius)
        # 2. Quality.
        cell_M = pairs.cells(truth, len(grid))
        p_M, iou_M = predicted_iou(pairs, cell_M, predictions, truth)
        q_M = quality(p_M, iou_M, self.alpha)
        # 3. The best of each truth, where the boxes overlap at all.
        q_M = q_M.masked_fill(iou_M <= 0, -1.0)
        row_N, truth_N = ranked(pairs, q_M.view(torch.int32), self.topk, truths, ONE)
        # 4. A contested point goes to its best claimant.
        q_N = q_M.index_select(0, row_N)
        cell_N = cell_M.index_select(0, row_N)
        row_K = row_N[
            best_per_cell(
                cell_N, q_N, predictions.cells, within_first(truth_N, self.topk).logical_and_(q_N >= 0)
            )
        ]
        # 5. The best of what is left is certain, the others are soft.
        positives = pairs[row_K]
        labels = self.labels(positives.truth_M, p_M[row_K], q_M[row_K], truths, progress)
        return assignment(positives, truth, *labels)
