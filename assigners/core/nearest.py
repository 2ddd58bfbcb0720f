"""The points of each level nearest to each truth, found among the few cells around the nearest one.

Shape legend: L levels, G truths, S steps along an axis, X kinds of places in a grid, O cells that can be
among the nearest, k points per level.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import torch
from torch import Tensor

from .types import PointGrid

INFINITY = 0x7F800000  # the bits of float32's infinity
MARGIN = 2  # cells between a place and an edge of the grid that are distinguished; more count as so many


def nearest_points(grid: PointGrid, boxes_G4: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k points of every level nearest (L2) to the centre of each truth; ties to the lower point.

    Args:
        boxes_G4: finite boxes in pixels.

    Returns:
        Points (G, L x k) int64, nearest first on each level, and which of them exist: a level may have fewer.
    """
    cells = _nearby(k, str(boxes_G4.device))
    stride_L1 = grid.stride_L[:, None]
    center_G12 = ((boxes_G4[:, :2] + boxes_G4[:, 2:]) * 0.5)[:, None]
    # ceil(x - 0.5) rounds a half down: of two nearest cells the lower index.
    cell_GL2 = (center_G12 / stride_L1 - (grid.offset + 0.5)).ceil_().clamp_(min=0).minimum(grid.last_L2)
    kind_GL = cells.kinds(cell_GL2, grid.last_L2 - cell_GL2)
    # Squared distances along each axis first, then their sums at the cells that matter in such a place.
    cell_GL2S = cell_GL2[..., None] + cells.step_S
    square_GL2S = ((cell_GL2S + grid.offset) * stride_L1[..., None]).sub_(center_G12[..., None]).square_()
    square_GL2S.masked_fill_((cell_GL2S < 0).logical_or_(cell_GL2S > grid.last_L2[..., None]), torch.inf)
    column_GLO, row_GLO = (table_XO[kind_GL] for table_XO in (cells.column_XO, cells.row_XO))
    distance_GLO = square_GL2S[:, :, 0].gather(2, column_GLO)
    distance_GLO += square_GL2S[:, :, 1].gather(2, row_GLO)
    # The bits of a positive float sort as it does; the number of the cell below them breaks ties.
    key_GLO = distance_GLO.view(torch.int32).long().bitwise_left_shift_(16).add_(cells.number_O)
    key_GLk = key_GLO.topk(k, largest=False).values
    exists_GLk = (key_GLk >> 16) < INFINITY
    chosen_GLk = key_GLk.bitwise_and_(0xFFFF)
    column_GL1, row_GL1 = (cell_GL2.long() - (k - 1)).split(1, dim=2)
    column_GLk = column_GLO.gather(2, chosen_GLk).add_(column_GL1)
    row_GLk = row_GLO.gather(2, chosen_GLk).add_(row_GL1)
    point_GLk = torch.addcmul(grid.start_L[:, None], row_GLk, grid.size_L2[:, :1]).add_(column_GLk)
    return point_GLk.mul_(exists_GLk).flatten(1), exists_GLk.flatten(1)


@dataclass(frozen=True)
class _Cells:
    """The cells around the nearest one that can be among the k nearest, by the kind of the place.

    Attributes:
        step_S: the steps 1 - k to k - 1 along an axis, and one that leaves any grid; float32.
        column_XO, row_XO: which step leads to each cell, sorted by row, then column; short lists are filled
            up with the last step.
        number_O: 0 to O - 1.
        weight_2: float32, of the margins in the number of a kind.
    """

    step_S: Tensor
    column_XO: Tensor
    row_XO: Tensor
    number_O: Tensor
    weight_2: Tensor

    def kinds(self, low_GL2: Tensor, high_GL2: Tensor) -> Tensor:
        """The kind of a place, (G, L) int64, from the cells below and above it on both axes."""
        pair_GL2 = low_GL2.clamp(max=MARGIN).mul_(MARGIN + 1).add_(high_GL2.clamp_(max=MARGIN))
        return pair_GL2.mul_(self.weight_2).sum(2).long()


@lru_cache(maxsize=16)
def _nearby(k: int, device: str) -> _Cells:
    axes = [_Axis(k, low, high) for low, high in product(range(MARGIN + 1), repeat=2)]
    lists = [_cells(k, x, y) for x, y in product(axes, repeat=2)]
    longest = max(k, *map(len, lists))
    lists = [cells + [(k, k)] * (longest - len(cells)) for cells in lists]
    with torch.inference_mode(False):  # what inference makes, training could not save for its backward
        cell_XO2 = torch.tensor(lists, device=device) + (k - 1)
        column_XO, row_XO = (cell_XO[..., axis].contiguous() for axis, cell_XO in enumerate((cell_XO2,) * 2))
        step_S = torch.tensor([*range(1 - k, k), torch.inf], device=device)
        weight_2 = torch.tensor([float((MARGIN + 1) ** 2), 1.0], device=device)
        return _Cells(step_S, column_XO, row_XO, torch.arange(longest, device=device), weight_2)


class _Axis:
    """One axis of a place with so many cells below and above it; MARGIN stands for at least so many.

    Attributes:
        gains: for each step that may exist, by how much its squared distance from a centre, in cells, exceeds
            that of each step that exists where it does, at least.
    """

    def __init__(self, k: int, low: int, high: int) -> None:
        first, last = -low if low < MARGIN else 1 - k, high if high < MARGIN else k - 1
        self.gains = {
            step: [
                self._gain(step, other, low, high) for other in range(min(-low, step), max(high, step) + 1)
            ]
            for step in range(first, last + 1)
        }

    def _gain(self, step: int, other: int, low: int, high: int) -> float:
        # The centre is at most half a cell away from the place, or beyond the edge where that is the last
        # cell; the difference of two squared distances is linear in where it is.
        if (other > step and low == 0) or (other < step and high == 0):
            return 0.0 if step == other else -torch.inf
        return step * step - other * other - abs(step - other)


def _cells(k: int, x: _Axis, y: _Axis) -> list[tuple[int, int]]:
    """The cells (column, row) to which fewer than k others are always nearer, sorted by row, then column."""
    # All cells between a cell and the place are nearer, which alone leaves few that need counting.
    few = ((j, i) for i in y.gains for j in x.gains if (abs(i) + 1) * (abs(j) + 1) <= k)
    return [(j, i) for j, i in few if sum(a + b > 0 for a in x.gains[j] for b in y.gains[i]) < k]
