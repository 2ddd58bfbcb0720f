"""The machinery that all assigners share: candidate pairs, top-k per truth, one truth per point.

A point can answer only for a truth that it lies in or near, and the points form regular grids, so the
candidates are index ranges: enumerating them costs what they are, not truths x points.

Shape legend:
    B images, P points of all L levels, G truths of the batch, M candidate pairs (truth, point), sorted by
    truth and then by point; N some rows of the M; K chosen rows of the M; H bars of a histogram.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from .boxes import take, usable
from .types import Assignment, GroundTruth, PointGrid, Predictions

BARS = 64  # of a histogram of keys
BAR_BITS = 22  # a bar is half an octave of float32
LOWEST = -(2**31)  # of int32


@dataclass(frozen=True)
class Pairs:
    """Candidate pairs: truth_M and point_M, int64, sorted by truth and then by point."""

    truth_M: Tensor
    point_M: Tensor

    def __getitem__(self, rows: Tensor) -> Pairs:
        return Pairs(self.truth_M[rows], self.point_M[rows])

    def cells(self, truth: GroundTruth, points: int) -> Tensor:
        """image x P + point: one number for a point of the batch, (M,) int64."""
        return (truth.image_G * points).index_select(0, self.truth_M).add_(self.point_M)


def exact(call: Callable[..., Assignment]) -> Callable[..., Assignment]:
    """Runs an assigner without gradient and with autocast off: assignment decides, so it is float32."""

    @wraps(call)
    def run(self: Any, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0):  # type: ignore[no-untyped-def]
        device = predictions.scores_BPC.device.type
        with torch.no_grad(), torch.autocast(device, enabled=False):
            return call(self, grid, predictions, truth, progress)

    return run


def points_within(grid: PointGrid, low_GL2: Tensor, high_GL2: Tensor, boxes_G4: Tensor) -> Pairs:
    """All points strictly inside one rectangle per truth and level.

    Args:
        low_GL2, high_GL2: the corners in pixels; G x 1 where one rectangle serves all levels.
        boxes_G4: the truths; an unusable one (NaN, empty, outside the image) has no points.
    """
    stride_L1 = grid.stride_L[:, None]
    edge_L2 = grid.size_L2.float()
    # Rounding of the division may miss the boundary by a hair, so start a hair early and let the exact
    # comparison of the point itself decide.
    hair = 1e-3
    low_GL2, high_GL2 = low_GL2.nan_to_num(), high_GL2.nan_to_num()
    first_GL2 = (low_GL2 / stride_L1 - grid.offset - hair).ceil().clamp(min=0).minimum(edge_L2)
    first_GL2 += ((first_GL2 + grid.offset) * stride_L1 <= low_GL2).float()
    last_GL2 = (high_GL2 / stride_L1 - grid.offset + hair).floor().clamp(min=-1).minimum(edge_L2 - 1)
    last_GL2 -= ((last_GL2 + grid.offset) * stride_L1 >= high_GL2).float()
    count_GL2 = (last_GL2 - first_GL2 + 1).clamp(min=0).long()
    count_GL2 = count_GL2 * usable(boxes_G4, grid.height, grid.width)[:, None, None]
    return _expand(grid, first_GL2.long(), count_GL2)


def _expand(grid: PointGrid, first_GL2: Tensor, count_GL2: Tensor) -> Pairs:
    """The pairs of rectangles of cells, given by their first column and row and their extent."""
    columns_R, rows_R = count_GL2.flatten(0, 1).unbind(-1)
    rows_R = torch.where(columns_R > 0, rows_R, 0)
    # First every rectangle becomes its rows, then every row its points: no division to take an index apart.
    rectangle_S = torch.repeat_interleave(rows_R)
    row_S = torch.arange(len(rectangle_S), device=rows_R.device) - (rows_R.cumsum(0) - rows_R)[rectangle_S]
    levels = len(grid.strides)
    first_j_S, first_i_S = first_GL2.flatten(0, 1)[rectangle_S].unbind(-1)
    level_S = rectangle_S % levels
    point_S = grid.start_L[level_S] + (first_i_S + row_S) * grid.size_L2[level_S, 0] + first_j_S
    columns_S = columns_R[rectangle_S]
    shift_S = point_S - (columns_S.cumsum(0) - columns_S)
    shift_M = torch.repeat_interleave(shift_S, columns_S)
    truth_M = torch.repeat_interleave(rectangle_S // levels, columns_S)
    return Pairs(truth_M, shift_M.add_(torch.arange(len(shift_M), device=shift_M.device)))


def center_squares(grid: PointGrid, boxes_G4: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Low and high corners (G, L, 2) of the squares of half side radius x stride around the centres."""
    center_G12 = ((boxes_G4[:, :2] + boxes_G4[:, 2:]) * 0.5)[:, None]
    half_L1 = radius * grid.stride_L[:, None]
    return center_G12 - half_L1, center_G12 + half_L1


def rank_key(value: Tensor) -> Tensor:
    """An int32 that sorts as the float32 does: smallest value first."""
    bits = (value.float() + 0.0).view(torch.int32)  # + 0.0 makes a negative zero a plain one
    return (bits >> 31).bitwise_and_(0x7FFFFFFF).bitwise_xor_(bits)


def top_per_truth(pairs: Pairs, value_M: Tensor, k: int, truths: int) -> Tensor:
    """The rows of the k largest values of each of the G truths, best first; ties to the lower point."""
    key_M = rank_key(value_M)
    row_N = _contenders(pairs.truth_M, key_M, k, truths)
    truth_N = pairs.truth_M.index_select(0, row_N)
    order_N = ((truth_N << 32) - key_M.index_select(0, row_N)).sort(stable=True).indices
    truth_N = truth_N.index_select(0, order_N)
    kept_N = rank_within(truth_N, torch.bincount(truth_N, minlength=truths)) < k
    return row_N.index_select(0, order_N)[kept_N]


def _contenders(truth_M: Tensor, key_M: Tensor, k: int, truths: int) -> Tensor:
    """The rows, ascending, that can be among the k largest keys of their truth; some more come along.

    Sorting is the dearest step of an assignment. A histogram of each truth's keys, by their distance from its
    largest one, tells below which bar none of the k largest lies, and a tenth of the rows is left to sort.
    """
    level_M = key_M >> BAR_BITS
    best_G = level_M.new_full((truths,), LOWEST).scatter_reduce_(0, truth_M, level_M, "amax")
    bar_M = best_G.index_select(0, truth_M).sub_(level_M).clamp_(max=BARS - 1)
    count_GH = torch.bincount((truth_M * BARS).add_(bar_M), minlength=truths * BARS).view(truths, BARS)
    last_G = (count_GH.cumsum(1) < k).sum(1)
    return (bar_M <= last_G.index_select(0, truth_M)).nonzero().squeeze(1)


def rank_within(group_M: Tensor, count_G: Tensor) -> Tensor:
    """The place of each row within its group, from 0; rows are sorted by group, count_G are its sizes."""
    start_G = count_G.cumsum(0) - count_G
    return torch.arange(len(group_M), device=group_M.device) - start_G.index_select(0, group_M)


def best_per_cell(cell_K: Tensor, value_K: Tensor, cells: int) -> Tensor:
    """The row of the largest value of each cell, sorted by cell; ties to the earlier row."""
    # The complement of the row below the bits of the value: ties to the earlier row, and no sort.
    row_K = torch.arange(len(cell_K), device=cell_K.device)
    key_K = (rank_key(value_K).long() << 32) + (2**32 - 1 - row_K)
    best_P = key_K.new_full((cells,), -(2**63)).scatter_reduce_(0, cell_K, key_K, "amax")
    return 2**32 - 1 - best_P[best_P > -(2**63)].bitwise_and_(2**32 - 1)


def settle_among_all(cell_M: Tensor, chosen_K: Tensor, value_M: Tensor, cells: int) -> Tensor:
    """One truth per claimed point, where a contested point goes to the best of *all* its candidates.

    Args:
        cell_M: the cell of each pair.
        chosen_K: rows of the pairs that claim their point.
        value_M: the larger, the better; ties to the lower truth.
        cells: how many cells there are in the batch.

    Returns:
        The rows of the winners, sorted by cell. A truth may win a point that it had not claimed.
    """
    contested_P = torch.bincount(cell_M[chosen_K], minlength=cells) > 1
    rivals_M = contested_P.index_select(0, cell_M)
    rivals_M[chosen_K] = True
    row_R = rivals_M.nonzero().squeeze(1)
    return row_R[best_per_cell(cell_M[row_R], value_M[row_R], cells)]


def predicted(
    pairs: Pairs, cell_M: Tensor, predictions: Predictions, truth: GroundTruth
) -> tuple[Tensor, Tensor]:
    """The probability p_M of the truth's class and the predicted boxes (M, 4) of the pairs, float32."""
    classes = predictions.scores_BPC.shape[2]
    if len(truth) and not 0 <= int(truth.labels_G.min()) <= int(truth.labels_G.max()) < classes:
        raise ValueError(f"labels must lie in 0 to {classes - 1}, got {truth.labels_G.unique().tolist()}")
    # index_select on flat views takes half the time of indexing by several tensors.
    entry_M = (cell_M * classes).add_(truth.labels_G.index_select(0, pairs.truth_M))
    p_M = predictions.scores_BPC.reshape(-1).index_select(0, entry_M)
    boxes_M4 = take(predictions.boxes_BP4.reshape(-1, 4), cell_M)
    return probability(p_M), boxes_M4.float()


def probability(score: Tensor) -> Tensor:
    """Scores as float32 in [0, 1]; what is not finite is no probability and counts as 0."""
    return score.float().nan_to_num(0.0, posinf=0.0, neginf=0.0).clamp_(0.0, 1.0)


def assignment(
    pairs: Pairs, truth: GroundTruth, score_K: Tensor, weight_K: Tensor, certain_K: Tensor | None = None
) -> Assignment:
    """The pairs of the positives, which must be sorted by cell, with their targets."""
    image_K = truth.image_G[pairs.truth_M]
    return Assignment(image_K, pairs.point_M, pairs.truth_M, score_K, weight_K, certain_K=certain_K)
