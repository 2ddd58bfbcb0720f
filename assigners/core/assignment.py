"""What every assigner returns.

Shape legend:
    B images, P points of all levels, C classes, K positives, N points whose background is weighted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .types import GroundTruth

NO_POINTS = torch.zeros(0, dtype=torch.long)
NO_WEIGHTS = torch.zeros(0)


@dataclass(frozen=True)
class Assignment:
    """One row per positive (image, point), sorted by (image, point). Everything else is background.

    Background counts with weight 1 unless the rows N say otherwise; by default there are none. A row of
    weight 0 is a point that is ignored. A positive has no background term for the class of its truth unless a
    row gives it one with that weight, beside its positive term; its other classes have weight 1.

    Attributes:
        image_K, point_K: int64, which point of which image.
        truth_K: int64, the row of `GroundTruth` that the point is positive for.
        score_K: float32 in [0, 1], the classification target for the truth's class.
        weight_K: float32, the weight of the point's classification term.
        image_N, point_N: int64, the points whose background is weighted, each at most once.
        weight_N: float32, at least 0, the weight of their background terms.
        certain_K: bool, the positives that alone should detect their truth at the end of training; None
            where the assigner makes no such difference.
    """

    image_K: Tensor
    point_K: Tensor
    truth_K: Tensor
    score_K: Tensor
    weight_K: Tensor
    image_N: Tensor = NO_POINTS
    point_N: Tensor = NO_POINTS
    weight_N: Tensor = NO_WEIGHTS
    certain_K: Tensor | None = None

    def __len__(self) -> int:
        return len(self.truth_K)

    def dense(self, images: int, points: int) -> Tensor:
        """The truth row of every point, (B, P) int64, -1 for background."""
        truth_BP = self.truth_K.new_full((images, points), -1)
        truth_BP[self.image_K, self.point_K] = self.truth_K
        return truth_BP

    def background_weight(self, images: int, points: int) -> Tensor:
        """The weight of every point's background term, (B, P) float32, 0 where a point is ignored."""
        weight_BP = self.score_K.new_ones(images, points)
        weight_BP[self.image_K, self.point_K] = 0.0
        if len(self.image_N):
            weight_BP[self.image_N, self.point_N] = self.weight_N
        return weight_BP

    def labels(self, truth: GroundTruth, images: int, points: int, background: int = -1) -> Tensor:
        """The class of every point, (B, P) int64, `background` where there is none."""
        label_BP = self.truth_K.new_full((images, points), background)
        label_BP[self.image_K, self.point_K] = truth.labels_G[self.truth_K]
        return label_BP

    def targets(self, truth: GroundTruth, images: int, points: int, classes: int) -> Tensor:
        """The soft one-hot targets of every point, (B, P, C) float32."""
        target_BPC = self.score_K.new_zeros(images, points, classes)
        target_BPC[self.image_K, self.point_K, truth.labels_G[self.truth_K]] = self.score_K
        return target_BPC
