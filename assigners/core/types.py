"""What every assigner takes, returns and offers.

Shape legend:
    B images, P points of all L FPN levels, G truths of the whole batch (flat, no padding), C classes,
    K positives, N points whose background is weighted. A trailing 2 or 4 is a point (x, y) or a box
    (x1, y1, x2, y2) in pixels of the network input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

NO_POINTS = torch.zeros(0, dtype=torch.long)
NO_WEIGHTS = torch.zeros(0)


@dataclass(frozen=True)
class PointGrid:
    """The points of all FPN levels of one network input, level after level, row after row.

    Point (i, j) of stride s sits at ((j + offset) s, (i + offset) s).

    Attributes:
        centers_P2: float32, x and y in pixels.
        stride_P: float32, the stride of each point's level.
        level_slices: where each level lies in P.
        strides: the stride of each level.
        shapes: (rows, columns) of each level.
        height, width: of the network input in pixels.
        offset: 0.5 where points are the centres of their cells, 0 where they are the corners.
    """

    centers_P2: Tensor
    stride_P: Tensor
    level_slices: tuple[slice, ...]
    strides: tuple[int, ...]
    shapes: tuple[tuple[int, int], ...]
    height: int
    width: int
    offset: float = 0.5

    @classmethod
    def for_image(
        cls,
        height: int,
        width: int,
        strides: Sequence[int],
        device: torch.device | str | None = None,
        offset: float = 0.5,
    ) -> PointGrid:
        """Lays ceil(height / s) x ceil(width / s) points for each stride s.

        Raises:
            ValueError: if the image has no extent or a stride is not positive.
        """
        if height < 1 or width < 1 or not strides or min(strides) < 1:
            raise ValueError(
                f"a grid needs a positive height, width and strides, got {height}x{width}, {tuple(strides)}"
            )
        shapes = [(-(-height // stride), -(-width // stride)) for stride in strides]
        return cls.for_maps(shapes, strides, height, width, device, offset)

    @classmethod
    def for_maps(
        cls,
        shapes: Sequence[tuple[int, int]],
        strides: Sequence[int],
        height: int,
        width: int,
        device: torch.device | str | None = None,
        offset: float = 0.5,
    ) -> PointGrid:
        """The points of feature maps of the given (rows, columns), one for each stride."""
        centers, stride_of_point, slices, start = [], [], [], 0
        for (rows, columns), stride in zip(shapes, strides, strict=True):
            y = (torch.arange(rows, device=device, dtype=torch.float32) + offset) * stride
            x = (torch.arange(columns, device=device, dtype=torch.float32) + offset) * stride
            grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
            centers.append(torch.stack((grid_x, grid_y), dim=-1).reshape(-1, 2))
            stride_of_point.append(torch.full((rows * columns,), float(stride), device=device))
            slices.append(slice(start, start + rows * columns))
            start += rows * columns
        return cls(
            torch.cat(centers),
            torch.cat(stride_of_point),
            tuple(slices),
            tuple(strides),
            tuple(shapes),
            height,
            width,
            offset,
        )

    def __len__(self) -> int:
        return len(self.stride_P)

    def points(self, point_M: Tensor) -> tuple[Tensor, Tensor]:
        """Place and stride of some points, (M, 2) and (M, 1), laid out column by column."""
        place_M2, stride_M1 = self._columns_3P.index_select(1, point_M).t().split((2, 1), dim=1)
        return place_M2, stride_M1

    @cached_property
    def _columns_3P(self) -> Tensor:
        return torch.cat((self.centers_P2.t(), self.stride_P[None]))

    @cached_property
    def sign_4(self) -> Tensor:
        """Of the axes x, y, -x and -y, (4,) float32."""
        return torch.tensor([1.0, 1.0, -1.0, -1.0], device=self.stride_P.device)

    @cached_property
    def offset_4(self) -> Tensor:
        """The offset on these axes, (4,) float32: cell j of -x is cell -j of x."""
        return self.offset * self.sign_4

    @cached_property
    def early_4(self) -> Tensor:
        """The same and a thousandth of a cell more."""
        return self.offset_4 + 1e-3

    @cached_property
    def cell_limits_2L4(self) -> Tensor:
        """The lowest and the highest cell that a range of cells may begin with on these axes, (2, L, 4)."""
        limits = [[[0, 0, 1 - w, 1 - h] for h, w in self.shapes], [[w, h, 1, 1] for h, w in self.shapes]]
        return torch.tensor(limits, dtype=torch.float32, device=self.stride_P.device)

    @cached_property
    def stride_L(self) -> Tensor:
        """The stride of each level, (L,) float32."""
        return torch.tensor(self.strides, dtype=torch.float32, device=self.stride_P.device)

    @cached_property
    def size_L2(self) -> Tensor:
        """Columns and rows of each level, (L, 2) int64: in the order of x and y."""
        return torch.tensor([s[::-1] for s in self.shapes], device=self.stride_P.device)

    @cached_property
    def last_L2(self) -> Tensor:
        """The last column and row of each level, (L, 2) float32."""
        return (self.size_L2 - 1).float()

    @cached_property
    def box_limits_24(self) -> Tensor:
        """Between these two, (2, 4) float32, lie the sides of a finite box that overlaps the image."""
        inf = float("inf")
        limits = [[-inf, -inf, 0.0, 0.0], [float(self.width), float(self.height), inf, inf]]
        return torch.tensor(limits, device=self.stride_P.device)

    @cached_property
    def start_L(self) -> Tensor:
        """The first point of each level, (L,) int64."""
        return torch.tensor([s.start for s in self.level_slices], device=self.stride_P.device)


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
        """From one (boxes_N4, labels_N) per image. Images without boxes are welcome; every row is kept."""
        if not images:
            return cls(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))
        count_B = torch.tensor([len(labels) for _, labels in images])
        boxes_G4 = torch.cat([boxes.reshape(-1, 4).float() for boxes, _ in images])
        labels_G = torch.cat([labels.reshape(-1).long() for _, labels in images])
        if len(boxes_G4) != len(labels_G):
            raise ValueError(f"{len(boxes_G4)} boxes but {len(labels_G)} labels")
        image_G = torch.repeat_interleave(torch.arange(len(images)), count_B).to(boxes_G4.device)
        return cls(boxes_G4, labels_G, image_G)

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
    """What the detector says now, detached from the graph.

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
