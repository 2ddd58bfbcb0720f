"""The positives of any assigner with O2F's labels: what the labels do without the rest of O2F.

Shape legend: K positives.
"""

from __future__ import annotations

from dataclasses import replace

from .core.pairs import Pairs, exact, predicted_iou
from .core.quality import quality
from .core.soft_labels import SoftLabels
from .core.types import Assigner, Assignment, GroundTruth, PointGrid, Predictions


class OneToFewLabels(Assigner):
    """One of the positives of each truth becomes certain, the others soft, as in step 5 of O2F.

    Args:
        assigner: chooses the positives; its own scores and weights are dropped.
        alpha: the certain one has the largest q = p^(1 - alpha) x IoU^alpha.
        t_max, t_min: the highest soft target at the start and at the end of training.
        soft_weight: the weight of a soft positive's classification term.
    """

    def __init__(
        self,
        assigner: Assigner,
        alpha: float = 0.8,
        t_max: float = 0.6,
        t_min: float = 0.2,
        soft_weight: float = 0.4,
    ) -> None:
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
        self.assigner, self.alpha = assigner, alpha
        self.labels = SoftLabels(t_max, t_min, soft_weight)

    def soft_target(self, progress: float) -> float:
        """T, the highest soft target after this share of training."""
        return self.labels.target(progress)

    @exact
    def __call__(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
    ) -> Assignment:
        """The positives of a batch; `progress` in [0, 1] sets the soft targets."""
        found = self.assigner(grid, predictions, truth, progress)
        positives = Pairs(found.truth_K, found.point_K)
        p_K, iou_K = predicted_iou(positives, positives.cells(truth, len(grid)), predictions, truth)
        score_K, weight_K, certain_K = self.labels(
            found.truth_K, p_K, quality(p_K, iou_K, self.alpha), len(truth), progress
        )
        return replace(found, score_K=score_K, weight_K=weight_K, certain_K=certain_K)
