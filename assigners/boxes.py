"""Box arithmetic on matched rows: row m of one argument meets row m of the other, and shapes broadcast.

Shape legend: N any leading shape; a trailing 4 is (x1, y1, x2, y2) in pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor


def usable(boxes_N4: Tensor, height: int, width: int) -> Tensor:
    """Which boxes are finite, have a positive width and height, and overlap the image, (N,) bool."""
    x1_N, y1_N, x2_N, y2_N = boxes_N4.unbind(-1)
    positive_N = (x2_N > x1_N) & (y2_N > y1_N) & boxes_N4.isfinite().all(-1)
    return positive_N & (x2_N > 0) & (y2_N > 0) & (x1_N < width) & (y1_N < height)


def power(base_N: Tensor, exponent: float) -> Tensor:
    """base ^ exponent as float32, for bases in [0, 1].

    Through float64: torch's vectorised float32 power rounds otherwise in the middle of a tensor than at its
    end, and equal inputs must stay exact ties.
    """
    return base_N.double().pow(exponent).float()


def area(boxes_N4: Tensor) -> Tensor:
    """Areas (N,) in square pixels; 0 where a side is negative."""
    side_N2 = (boxes_N4[..., 2:] - boxes_N4[..., :2]).clamp_(min=0)
    return side_N2[..., 0] * side_N2[..., 1]


def _intersection(a_N4: Tensor, b_N4: Tensor) -> Tensor:
    low_N2 = torch.maximum(a_N4[..., :2], b_N4[..., :2])
    side_N2 = torch.minimum(a_N4[..., 2:], b_N4[..., 2:]).sub_(low_N2).clamp_(min=0)
    return side_N2[..., 0] * side_N2[..., 1]


def iou(a_N4: Tensor, b_N4: Tensor) -> Tensor:
    """Intersection over union of matched boxes, (N,) in [0, 1]; 0 where it is undefined (empty, NaN)."""
    inter_N = _intersection(a_N4, b_N4)
    union_N = area(a_N4) + area(b_N4) - inter_N
    # NaN compares as false, so a box with a NaN or infinite side overlaps nothing.
    return torch.where(union_N > 0, inter_N / union_N, 0.0).clamp_(max=1.0)


def giou(a_N4: Tensor, b_N4: Tensor) -> Tensor:
    """Generalised IoU (arXiv 1902.09630) of matched boxes, (N,) in [-1, 1]; -1 where undefined."""
    inter_N = _intersection(a_N4, b_N4)
    union_N = area(a_N4) + area(b_N4) - inter_N
    hull_N4 = torch.cat(
        (torch.minimum(a_N4[..., :2], b_N4[..., :2]), torch.maximum(a_N4[..., 2:], b_N4[..., 2:])), dim=-1
    )
    hull_N = area(hull_N4)
    giou_N = inter_N / union_N - (hull_N - union_N) / hull_N
    return torch.where((union_N > 0) & giou_N.isfinite(), giou_N, -1.0)
