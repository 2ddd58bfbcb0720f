"""What O2F, POTO and FCOS share: which pairs are candidates, and (O2F and POTO) how good a pair is.

Shape legend: G truths, M candidate pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .boxes import power
from .pairs import Pairs, corners, points_above
from .types import PointGrid


def central_pairs(grid: PointGrid, boxes_G4: Tensor, radius: float) -> Pairs:
    """The points inside each truth and in the square of half side radius x stride around its centre."""
    box_G14, square_GL4 = corners(grid, boxes_G4, radius)
    return points_above(grid, torch.maximum(box_G14, square_GL4), boxes_G4)


def quality(p_M: Tensor, iou_M: Tensor, alpha: float) -> Tensor:
    """q = p^(1 - alpha) x IoU^alpha (arXiv 2012.03544, section 3.2), (M,) float32 in [0, 1]."""
    return power(p_M, 1 - alpha) * power(iou_M, alpha)
