"""The assigners inside other detection libraries, one module per library.

What all of them need is the grid behind a library's list of points, and truths counted image by image.

Shape legend: B images, P points, L levels, G truths of the batch, K positives.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING or __package__ == "adapters":  # in the repository
    from assigners import Assignment, GroundTruth, PointGrid, Predictions, ignore_inside
    from assigners.core.boxes import iou
else:  # in the package matchpoint_assigners
    from .. import Assignment, GroundTruth, PointGrid, Predictions, ignore_inside
    from ..core.boxes import iou

__all__ = [
    "Assignment",
    "GroundTruth",
    "PointGrid",
    "Predictions",
    "grid_of",
    "ignore_inside",
    "iou",
    "row_in_image",
]


def grid_of(points_P2: Tensor, stride_P: Tensor, offset: float) -> PointGrid:
    """The grid of a library's points, given level after level and row after row.

    Args:
        points_P2: x and y in pixels.
        stride_P: of each point's level.
        offset: 0.5 where points are the centres of their cells, 0 where they are the corners.

    Raises:
        ValueError: if the points are not all points of one rectangle of each level.
    """
    start_L = torch.cat((stride_P.new_ones(1, dtype=torch.bool), stride_P[1:] != stride_P[:-1])).nonzero()
    ends = [*start_L.flatten().tolist()[1:], len(stride_P)]
    last_L3 = torch.cat((points_P2, stride_P[:, None]), 1)[[end - 1 for end in ends]].tolist()
    strides = tuple(round(stride) for *_, stride in last_L3)
    shapes = tuple((round(y / s - offset) + 1, round(x / s - offset) + 1) for x, y, s in last_L3)
    if sum(rows * columns for rows, columns in shapes) != len(stride_P):
        raise ValueError(
            f"{len(stride_P)} points are no full grids of {shapes} at strides {strides}: "
            "hand over every point of every level"
        )
    return _grid(shapes, strides, points_P2.device, offset)


@lru_cache(maxsize=64)
def _grid(
    shapes: tuple[tuple[int, int], ...], strides: tuple[int, ...], device: torch.device, offset: float
) -> PointGrid:
    height, width = (max(n[axis] * s for n, s in zip(shapes, strides, strict=True)) for axis in (0, 1))
    return PointGrid.for_maps(shapes, strides, height, width, device, offset)


def row_in_image(assignment: Assignment, truth: GroundTruth, images: int, points: int) -> Tensor:
    """Which truth of its own image each point is positive for, (B, P) int64, counted from 0; -1 elsewhere."""
    first_B = torch.searchsorted(truth.image_G, torch.arange(images, device=truth.image_G.device))
    truth_BP = assignment.dense(images, points)
    return torch.where(truth_BP >= 0, truth_BP - first_B[:, None], -1)
