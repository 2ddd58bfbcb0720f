"""One-to-one assignment by the costs of DETR (arXiv 2005.12872, section 3.1) on dense points.

Shape legend: G truths, M candidate pairs, K positives.
"""

from __future__ import annotations

import torch

from .core.boxes import giou, take
from .core.matching import best_matching
from .core.pairs import assignment, exact, predicted
from .core.quality import central_pairs
from .core.types import Assigner, Assignment, GroundTruth, PointGrid, Predictions

WORST = 100.0  # costs above count as this
MISSED = -1e6  # far below -WORST: no more truths than necessary stay without a point


class Hungarian(Assigner):
    """One positive per truth: of all one-to-one assignments the one with the smallest sum of costs.

    DETR matches every truth with every prediction. A dense detector's points have places, and a point cannot
    predict a box around which it does not lie, so the candidates are the points inside the truth.

    Args:
        class_weight, l1_weight, giou_weight: the cost of a pair is
            -class_weight x p + l1_weight x L1 - giou_weight x GIoU, with p the probability of the truth's
            class and L1 the distance in centre x, centre y, width and height, as shares of the network input.
        center_radius: half side of a centre square in strides, to which the candidates are restricted; None
            for all points inside.
    """

    def __init__(
        self,
        class_weight: float = 1.0,
        l1_weight: float = 5.0,
        giou_weight: float = 2.0,
        center_radius: float | None = None,
    ) -> None:
        if min(class_weight, l1_weight, giou_weight) < 0:
            raise ValueError(f"weights must not be negative: {class_weight}, {l1_weight}, {giou_weight}")
        if center_radius is not None and center_radius <= 0:
            raise ValueError(f"center_radius must be above 0, or None, got {center_radius}")
        self.class_weight, self.l1_weight, self.giou_weight = class_weight, l1_weight, giou_weight
        self.center_radius = center_radius

    @exact
    def __call__(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
    ) -> Assignment:
        """The positives of a batch; `progress` is ignored."""
        boxes_G4 = truth.boxes_G4.float()
        # 1. Candidates: the points inside the truth.
        pairs = central_pairs(grid, boxes_G4, torch.inf if self.center_radius is None else self.center_radius)
        # 2. Cost.
        cell_M = pairs.cells(truth, len(grid))
        p_M, boxes_M4 = predicted(pairs, cell_M, predictions, truth)
        truth_M4 = take(boxes_G4, pairs.truth_M)
        # In corners: centre and size of a box are sums and differences of them.
        difference_M4 = (boxes_M4 - truth_M4) / grid.extent_4
        low_M2, high_M2 = difference_M4[:, :2], difference_M4[:, 2:]
        l1_M = ((low_M2 + high_M2).abs() * 0.5 + (high_M2 - low_M2).abs()).sum(1)
        cost_M = self.l1_weight * l1_M - self.class_weight * p_M - self.giou_weight * giou(boxes_M4, truth_M4)
        cost_M = cost_M.nan_to_num(nan=WORST).clamp_(max=WORST)
        # 3. The best one-to-one assignment; 4. it leaves no conflict.
        row_K = best_matching(pairs, cell_M, -cost_M, len(truth), predictions.cells, missed=MISSED)
        # 5. Target.
        one_K = torch.ones_like(row_K, dtype=torch.float32)
        return assignment(pairs[row_K], truth, one_K, one_K)
