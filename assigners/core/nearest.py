"""The points of each level nearest to each truth, found among the few cells around the nearest one.

Shape legend: L levels, G truths, R = G x L rows (truth, level), S some of the rows, O offsets around the
nearest cell, A steps along an axis, k points per row.
"""

from __future__ import annotations

from functools import cache
from itertools import count

import torch
from torch import Tensor

from .types import PointGrid


def nearest_points(grid: PointGrid, boxes_G4: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k points of every level nearest (L2) to the centre of each truth; ties to the lower point.

    Args:
        boxes_G4: finite boxes in pixels.

    Returns:
        Points (G, L x k) int64, nearest first on each level, and which of them exist: a level may have fewer.
    """
    levels = len(grid.strides)
    stride_R = grid.stride_L.repeat(len(boxes_G4))
    last_R2 = (grid.size_L2 - 1).float().repeat(len(boxes_G4), 1)
    center_R2 = ((boxes_G4[:, :2] + boxes_G4[:, 2:]) * 0.5).repeat_interleave(levels, 0)
    # ceil(x - 0.5) rounds a half down: of two nearest cells the lower index.
    cell_R2 = (center_R2 / stride_R[:, None] - (grid.offset + 0.5)).ceil().clamp(min=0).minimum(last_R2)
    margin_R = torch.minimum(cell_R2, last_R2 - cell_R2).amin(1)
    # Away from the edge of the grid far fewer cells can be among the nearest.
    reach, inner_O2 = _inner_offsets(k)
    point_Rk = torch.empty(len(stride_R), k, dtype=torch.long, device=boxes_G4.device)
    exists_Rk = torch.ones_like(point_Rk, dtype=torch.bool)
    for offset_O2, rows_R in ((inner_O2, margin_R >= reach), (_offsets(k), margin_R < reach)):
        row_S = rows_R.nonzero().squeeze(1)
        if not len(row_S):
            continue
        at = cell_R2[row_S], last_R2[row_S], center_R2[row_S], stride_R[row_S]
        cell_Sk2, exists_Rk[row_S] = _choose(offset_O2.to(boxes_G4.device), k, grid.offset, *at)
        level_S = row_S % levels
        column_Sk, line_Sk = cell_Sk2.long().unbind(-1)
        point_Rk[row_S] = grid.start_L[level_S, None] + line_Sk * grid.size_L2[level_S, :1] + column_Sk
    shape = (len(boxes_G4), levels * k)
    return (point_Rk * exists_Rk).view(shape), exists_Rk.view(shape)


@cache
def _offsets(topk: int) -> Tensor:
    """The cells (column, row), relative to the nearest, that can be among the topk nearest, (O, 2) float32.

    If a cell is chosen, so is every cell of the rectangle between it and the nearest one, which lies in the
    grid too: hence (|row| + 1)(|column| + 1) <= topk. Sorted by row, then column: by point.
    """
    reach = range(1 - topk, topk)
    cells = [(j, i) for i in reach for j in reach if (abs(i) + 1) * (abs(j) + 1) <= topk]
    return torch.tensor(cells, dtype=torch.float32)


@cache
def _inner_offsets(topk: int) -> tuple[int, Tensor]:
    """Reach, and those of `_offsets` that matter where all cells up to reach around the nearest one exist."""

    def always_nearer(j: int, i: int, reach: int) -> int:
        # The difference of two squared distances is linear in the place of the centre, which is at most half
        # a cell from the nearest one on each axis: its least value tells whether one always is nearer.
        window = range(-reach, reach + 1)
        cells = ((a, b) for a in window for b in window)
        return sum(j * j + i * i - a * a - b * b > abs(j - a) + abs(i - b) for a, b in cells)

    for reach in count():
        kept = [(j, i) for j, i in _offsets(topk).long().tolist() if always_nearer(j, i, reach) < topk]
        if all(max(abs(j), abs(i)) <= reach for j, i in kept):
            return reach, torch.tensor(kept, dtype=torch.float32)
    raise AssertionError  # some reach always suffices


def _choose(
    offset_O2: Tensor,
    k: int,
    place: float,
    cell_S2: Tensor,
    last_S2: Tensor,
    center_S2: Tensor,
    stride_S: Tensor,
) -> tuple[Tensor, Tensor]:
    """The k nearest of the cells at the offsets, (S, k, 2) column and row, and which lie in the grid.

    `place` is that of the point within its cell, as a share of the stride.
    """
    low, high = int(offset_O2.min()), int(offset_O2.max())
    step_A = torch.arange(low, high + 1, device=stride_S.device)
    square_2SA = []
    for axis in (0, 1):
        cell_SA = cell_S2[:, axis, None] + step_A
        square_SA = ((cell_SA + place) * stride_S[:, None] - center_S2[:, axis, None]).square_()
        outside_SA = (cell_SA < 0) | (cell_SA > last_S2[:, axis, None])
        square_2SA.append(square_SA.masked_fill_(outside_SA, torch.inf))
    index_O2 = (offset_O2 - low).long()
    distance_SO = square_2SA[0][:, index_O2[:, 0]].add_(square_2SA[1][:, index_O2[:, 1]])
    # The bits of a positive float sort as it does; the offset's number below them breaks ties.
    key_SO = distance_SO.view(torch.int32).long().bitwise_left_shift_(16)
    key_SO += torch.arange(len(offset_O2), device=key_SO.device)
    key_Sk = key_SO.topk(k, largest=False).values
    exists_Sk = (key_Sk >> 16) < torch.tensor(torch.inf).view(torch.int32).item()
    return cell_S2[:, None] + offset_O2[key_Sk & 0xFFFF], exists_Sk
