"""Prediction-aware one-to-one assignment (POTO; DeFCN, arXiv 2012.03544, section 3.2).

Shape legend: G truths, M candidate pairs, K positives.
"""

from __future__ import annotations

import torch

from .core.matching import best_matching
from .core.pairs import assignment, exact, predicted_iou
from .core.quality import central_pairs, quality
from .core.types import Assigner, Assignment, GroundTruth, PointGrid, Predictions


class POTO(Assigner):
    """One positive per truth: of all one-to-one assignments the one with the largest sum of qualities.

    Args:
        alpha: quality q = p^(1 - alpha) x IoU^alpha.
        center_radius: half side of the centre square, in strides.
    """

    def __init__(self, alpha: float = 0.8, center_radius: float = 1.5) -> None:
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
        if center_radius <= 0:
            raise ValueError(f"center_radius must be above 0, got {center_radius}")
        self.alpha, self.center_radius = alpha, center_radius

    @exact
    def __call__(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
    ) -> Assignment:
        """The positives of a batch; `progress` is ignored."""
        boxes_G4 = truth.boxes_G4.float()
        # 1. Candidates: the centre square, clipped to the truth.
        pairs = central_pairs(grid, boxes_G4, self.center_radius)
        # 2. Quality, where the boxes overlap at all.
        cell_M = pairs.cells(truth, len(grid))
        p_M, iou_M = predicted_iou(pairs, cell_M, predictions, truth)
        row_N = (iou_M > 0).nonzero().squeeze(1)
        q_N = quality(p_M[row_N], iou_M[row_N], self.alpha)
        # 3. The best one-to-one assignment; 4. it leaves no conflict.
        row_K = row_N[best_matching(pairs[row_N], cell_M[row_N], q_N, len(truth), predictions.cells)]
        # 5. Target.
        one_K = torch.ones_like(row_K, dtype=torch.float32)
        return assignment(pairs[row_K], truth, one_K, one_K)
