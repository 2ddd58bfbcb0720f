"""Box arithmetic on matched rows: row m of one argument meets row m of the other, and shapes broadcast.

Shape legend: N any leading shape; a trailing 4 is (x1, y1, x2, y2) in pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .types import PointGrid

SMALLEST = 1e-45  # float32 above 0


def usable(boxes_G4: Tensor, grid: PointGrid) -> Tensor:
    """Which boxes are finite, have a positive width and height, and overlap the image, (G,) bool."""
    low_4, high_4 = grid.box_limits_24
    within_G4 = (boxes_G4 > low_4).logical_and_(boxes_G4 < high_4)  # NaN compares as false
    extended_G2 = boxes_G4[:, 2:] > boxes_G4[:, :2]
    return within_G4.view(-1, 2, 2).logical_and_(extended_G2[:, None]).all((1, 2))


def power(base_N: Tensor, exponent: float) -> Tensor:
    """base ^ exponent as float32, for bases in [0, 1].

    Through float64: torch's vectorised float32 power rounds otherwise in the middle of a tensor than at its
    end, and equal inputs must stay exact ties. Whole exponents are products, five times as fast.
    """
    if exponent == 1:
        return base_N
    base_N = base_N.double()
    if exponent not in range(1, 9):
        return base_N.pow(exponent).float()
    result_N = base_N.clone()
    for bit in f"{int(exponent):b}"[1:]:
        result_N.mul_(result_N)
        if bit == "1":
            result_N.mul_(base_N)
    return result_N.float()


def take(values_NX: Tensor, row_M: Tensor) -> Tensor:
    """Some rows, (M, X), laid out column by column: arithmetic on single columns then takes half the time."""
    return values_NX.t().contiguous().index_select(1, row_M).t()


def area(boxes_N4: Tensor) -> Tensor:
    """Areas (N,) in square pixels; 0 where a side is negative."""
    width_N, height_N = (boxes_N4[..., 2:] - boxes_N4[..., :2]).clamp_(min=0).unbind(-1)
    return width_N * height_N


def _intersection(a_N4: Tensor, b_N4: Tensor) -> Tensor:
    side_N2 = torch.minimum(a_N4[..., 2:], b_N4[..., 2:])
    side_N2 = side_N2.sub_(torch.maximum(a_N4[..., :2], b_N4[..., :2])).clamp_(min=0)
    return side_N2[..., 0] * side_N2[..., 1]


def iou(a_N4: Tensor, b_N4: Tensor) -> Tensor:
    """Intersection over union of matched boxes, (N,) in [0, 1]; 0 where it is undefined (empty, NaN)."""
    inter_N = _intersection(a_N4, b_N4)
    union_N = (area(a_N4) + area(b_N4)).sub_(inter_N)
    # Two empty boxes: 0 / SMALLEST. A NaN or infinite side: 0.
    return inter_N.div_(union_N.clamp_(min=SMALLEST)).nan_to_num_(0.0).clamp_(max=1.0)


def iou_of_rows(a_N4: Tensor, b_N4: Tensor, row_a_M: Tensor, row_b_M: Tensor) -> Tensor:
    """The IoU of pairs of float32 boxes given by their rows, (M,): equal to `iou` of the gathered boxes.

    Both values of a corner are gathered as one number of 64 bits, areas are computed before, and
    nothing lives longer than needed: on a CPU, new memory costs as much time as what is written to it.
    """
    if len(row_a_M) < len(a_N4):
        return iou(take(a_N4, row_a_M), take(b_N4, row_b_M))
    (low_N, high_N), (low_of_b_N, high_of_b_N) = _corners(a_N4), _corners(b_N4)
    side_M2 = _gather(high_N, row_a_M)
    torch.minimum(side_M2, _gather(high_of_b_N, row_b_M), out=side_M2)
    low_M2 = _gather(low_N, row_a_M)
    torch.maximum(low_M2, _gather(low_of_b_N, row_b_M), out=low_M2)
    side_M2.sub_(low_M2).clamp_(min=0)
    del low_M2
    inter_M = side_M2[:, 0] * side_M2[:, 1]
    del side_M2
    union_M = area(a_N4).index_select(0, row_a_M)
    union_M.add_(area(b_N4).index_select(0, row_b_M)).sub_(inter_M)
    return inter_M.div_(union_M.clamp_(min=SMALLEST)).nan_to_num_(0.0).clamp_(max=1.0)


def _corners(boxes_N4: Tensor) -> tuple[Tensor, Tensor]:
    """The low and the high corners, (N,) each: x and y are the halves of an int64."""
    low_N, high_N = boxes_N4.view(-1, 2, 2).transpose(0, 1).contiguous().view(torch.int64).squeeze(2)
    return low_N, high_N


def _gather(corner_N: Tensor, row_M: Tensor) -> Tensor:
    """Some corners, (M, 2) float32."""
    return corner_N.index_select(0, row_M).view(torch.float32).view(-1, 2)


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
