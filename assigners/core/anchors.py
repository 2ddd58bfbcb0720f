"""Square anchors around points: how ATSS and RetinaNet's matching see a point before anything is predicted.

Shape legend: G truths, L levels, Y rows and X columns of a level; N any leading shape.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .boxes import iou
from .types import PointGrid


def anchors(center_N2: Tensor, side_N: Tensor) -> Tensor:
    """Squares (N, 4) of the given sides around points, in pixels."""
    half_N1 = (side_N * 0.5)[..., None]
    return torch.cat((center_N2 - half_N1, center_N2 + half_N1), dim=-1)


def best_anchor(grid: PointGrid, boxes_G4: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The largest IoU of each truth with the anchors of the whole grid, and the lowest point that has it.

    Args:
        boxes_G4: finite boxes in pixels.
        scale: side of a point's anchor, in strides.

    Returns:
        iou_G, float32, and point_G, int64; an IoU of 0 means that no anchor overlaps the truth.
    """
    best_GL, point_GL = [], []
    for level, (rows, columns) in zip(grid.level_slices, grid.shapes, strict=True):
        center_YX2 = grid.centers_P2[level].view(rows, columns, 2)
        # The overlap of a square and a box is one of columns times one of rows, so each axis alone finds its
        # first best index.
        half = grid.stride_P[level][0] * (scale / 2)
        index_G2 = [
            _first_best(_overlap(centers, half, boxes_G4[:, axis], boxes_G4[:, axis + 2]))
            for axis, centers in enumerate((center_YX2[0, :, 0], center_YX2[:, 0, 1]))
        ]
        point_G = level.start + index_G2[1] * columns + index_G2[0]
        anchors_G4 = anchors(grid.centers_P2[point_G], grid.stride_P[point_G] * scale)
        point_GL.append(point_G)
        best_GL.append(iou(anchors_G4, boxes_G4))
    iou_GL = torch.stack(best_GL, 1)
    level_G1 = _first_best(iou_GL)[:, None]
    return iou_GL.gather(1, level_G1).squeeze(1), torch.stack(point_GL, 1).gather(1, level_G1).squeeze(1)


def _overlap(centers_N: Tensor, half: Tensor, low_G: Tensor, high_G: Tensor) -> Tensor:
    low_GN = torch.maximum(centers_N - half, low_G[:, None])
    return (torch.minimum(centers_N + half, high_G[:, None]) - low_GN).clamp(min=0)


def _first_best(value_GN: Tensor) -> Tensor:
    """The lowest index of the largest value of each row; torch's own argmax promises no order of ties."""
    best_GN = value_GN == value_GN.amax(1, keepdim=True)
    index_N = torch.arange(value_GN.shape[1], device=value_GN.device)
    return torch.where(best_GN, index_N, value_GN.shape[1]).amin(1)
