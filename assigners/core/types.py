"""What every assigner takes, returns and offers.

Shape legend:
    B images, P points of all L FPN levels, G truths of the whole batch (flat, no padding), C classes,
    K positives, N points whose background is weighted. A trailing 2 or 4 is a point (x, y) or a box
    (x1, y1, x2, y2) in pixels of the network input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from .grid import PointGrid

__all__ = ["Assigner", "Assignment", "GroundTruth", "PointGrid", "Predictions"]

NO_POINTS = torch.zeros(0, dtype=torch.long)
NO_WEIGHTS = torch.zeros(0)


@dataclass(frozen=True)
class GroundTruth:
    """The truths of a batch, flat.

    Attributes:
        boxes_G4: float32, pixels of the network input.
        labels_G: int64, 0 to C - 1.
        image_G: int64, sorted: which image of the batch each truth belongs to.
    """

    boxes_G4: Tensor
    labels_G: Tensor
    image_G: Tensor

    @classmethod
    def from_list(cls, images: Sequence[tuple[Tensor, Tensor]]) -> GroundTruth:
        """From one (boxes_N4, labels_N) per image. Images may have no boxes; every row is kept."""
        if not images:
            return cls(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))
        count_B = torch.tensor([len(labels) for _, labels in images])
        boxes_G4 = torch.cat([boxes.reshape(-1, 4).float() for boxes, _ in images])
        labels_G = torch.cat([labels.reshape(-1).long() for _, labels in images])
        if len(boxes_G4) != len(labels_G):
            raise ValueError(f"{len(boxes_G4)} boxes but {len(labels_G)} labels")
        image_G = torch.repeat_interleave(torch.arange(len(images)), count_B).to(boxes_G4.device)
        return cls(boxes_G4, labels_G, image_G)

    def check_labels(self, classes: int) -> None:
        """The assigners and the loss do not look, since on a GPU that is a wait.

        Raises:
            ValueError: if a label is not in 0 to classes - 1.
        """
        wrong_G = (self.labels_G < 0) | (self.labels_G >= classes)
        if bool(wrong_G.any()):
            found = self.labels_G[wrong_G].unique().tolist()
            raise ValueError(f"labels must lie in 0 to {classes - 1}, got {found}")

    def to(self, device: torch.device | str, non_blocking: bool = False) -> GroundTruth:
        """The same truths on another device."""
        move = [t.to(device, non_blocking=non_blocking) for t in (self.boxes_G4, self.labels_G, self.image_G)]
        return GroundTruth(*move)

    def pin_memory(self) -> GroundTruth:
        """The same truths in page-locked memory; the loader calls this where a GPU is used."""
        return GroundTruth(self.boxes_G4.pin_memory(), self.labels_G.pin_memory(), self.image_G.pin_memory())

    def __len__(self) -> int:
        return len(self.labels_G)


@dataclass(frozen=True)
class Predictions:
    """The detector's current predictions, detached from the graph.

    Attributes:
        scores_BPC: the probability that inference uses (class x quality where a quality branch is
            multiplied in), in [0, 1].
        boxes_BP4: pixels of the network input.
    """

    scores_BPC: Tensor
    boxes_BP4: Tensor

    @property
    def cells(self) -> int:
        """Points of the batch, images x points."""
        return self.boxes_BP4.shape[:2].numel()


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


@runtime_checkable
class Assigner(Protocol):
    """What a caller may ask of any assigner. Inherit from it to take the defaults."""

    def __call__(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
    ) -> Assignment:
        """The positives of a batch; `progress` in [0, 1] is the share of training that is done."""
        ...

    def soft_target(self, progress: float) -> float | None:
        """The highest target of a positive that is not certain, at this progress; None without a schedule."""
        return None
