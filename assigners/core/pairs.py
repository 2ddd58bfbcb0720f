"""What all assigners share: candidate pairs, top-k per truth, one truth per point.

A point can be positive only for a truth that it lies in or near, and the points form regular grids, so the
candidates are index ranges: the cost of listing them grows with their number, not with truths x points.

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
from torch.nn.functional import pad

from .boxes import take, usable
from .types import Assignment, GroundTruth, PointGrid, Predictions

BARS = 64  # of a histogram of keys
BAR_BITS = 22  # a bar is half an octave of float32
LOWEST = -(2**31)  # of int32
ONE = 0x3F800000  # the bits of 1.0
MANY = 8  # a histogram pays where a truth has so many times k candidates


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
    return points_above(grid, torch.cat((low_GL2, -high_GL2), -1), boxes_G4)


def points_above(grid: PointGrid, corner_GL4: Tensor, boxes_G4: Tensor) -> Pairs:
    """The same for rectangles given by their lowest x, y, -x and -y: x < high is -x > -high."""
    # So the last cell is the first one of the negated axis, and one search finds both.
    stride_L1 = grid.stride_L[:, None]
    # Rounding of the division may miss the boundary by a hair, so start a hair early and let the exact
    # comparison of the point itself decide.
    cell_GL4 = (corner_GL4 / stride_L1 - grid.early_4).ceil_().clamp_(*grid.cell_limits_2L4)
    cell_GL4 += (cell_GL4 + grid.offset_4) * stride_L1 <= corner_GL4
    cell_GL4 = cell_GL4.long()
    first_GL2 = cell_GL4[..., :2]
    count_GL2 = (1 - first_GL2).sub_(cell_GL4[..., 2:]).clamp_(min=0)
    return _expand(grid, first_GL2, count_GL2.mul_(usable(boxes_G4, grid)[:, None, None]))


def _expand(grid: PointGrid, first_GL2: Tensor, count_GL2: Tensor) -> Pairs:
    """The pairs of rectangles of cells, given by their first column and row and their extent."""
    levels, device = len(grid.strides), count_GL2.device
    columns_GL, rows_GL = count_GL2.unbind(-1)
    width_GL = grid.size_L2[:, 0].expand_as(rows_GL)
    begin_GL = (rows_GL.flatten().cumsum(0) - rows_GL.flatten()).view_as(rows_GL)
    # First every rectangle becomes its rows, then every row its points: no division to take an index apart.
    point_GL = torch.addcmul(grid.start_L, first_GL2[..., 1], width_GL).add_(first_GL2[..., 0])
    point_GL.addcmul_(begin_GL, width_GL, value=-1)  # less the rows of the rectangles before
    totals_2 = torch.stack((rows_GL, rows_GL * columns_GL)).sum((1, 2))
    rows, points = totals_2.tolist()  # both sizes in one read
    rectangle_S = torch.repeat_interleave(rows_GL.flatten(), output_size=rows)
    table_R3 = torch.stack((point_GL, width_GL, columns_GL), -1).flatten(0, 1)
    point_S, width_S, columns_S = table_R3.index_select(0, rectangle_S).unbind(1)
    shift_S = torch.addcmul(point_S, width_S, torch.arange(rows, device=device)).add_(columns_S)
    shift_S -= columns_S.cumsum(0)
    row_M = torch.repeat_interleave(columns_S, output_size=points)
    point_M = shift_S.index_select(0, row_M).add_(torch.arange(points, device=device))
    return Pairs((rectangle_S // levels).index_select(0, row_M), point_M)


def points_inside(grid: PointGrid, boxes_G4: Tensor) -> Pairs:
    """All points strictly inside each truth."""
    return points_within(grid, boxes_G4[:, None, :2], boxes_G4[:, None, 2:], boxes_G4)


def corners(grid: PointGrid, boxes_G4: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """The lowest x, y, -x and -y of the truths, (G, 1, 4), and of the squares around their centres.

    The squares (G, L, 4) have a half side of radius x stride.
    """
    box_G4 = boxes_G4 * grid.sign_4
    center_G4 = box_G4.sub(box_G4.roll(2, 1)).mul_(0.5)
    return box_G4[:, None], center_G4[:, None] - radius * grid.stride_L[:, None]


def rank_key(value: Tensor) -> Tensor:
    """An int32 that sorts as the float32 does: smallest value first."""
    bits = (value.float() + 0.0).view(torch.int32)  # + 0.0 makes a negative zero a plain one
    return (bits >> 31).bitwise_and_(0x7FFFFFFF).bitwise_xor_(bits)


def top_per_truth(pairs: Pairs, value_M: Tensor, k: int, truths: int) -> Tensor:
    """The rows of the k largest values of each of the G truths, best first; ties to the lower point."""
    row_N, truth_N = ranked(pairs, rank_key(value_M), k, truths)
    return row_N[within_first(truth_N, k)]


def ranked(
    pairs: Pairs, key_M: Tensor, k: int, truths: int, most: int | None = None
) -> tuple[Tensor, Tensor]:
    """The same with fewer waits for the device: these rows and some more, by truth and best first.

    Args:
        key_M: int32 in the order of the values: their `rank_key`, or their bits where none is negative.
        most: a key that none exceeds and some come near to, such as ONE, where it is known.

    Returns:
        row_N and the truths of these rows, truth_N.
    """
    truth_M, row_N = pairs.truth_M, None
    if len(key_M) > MANY * k * truths:
        row_N = _contenders(truth_M, key_M, k, truths, most)
        truth_M, key_M = truth_M.index_select(0, row_N), key_M.index_select(0, row_N)
    order_N = ((truth_M << 32) - key_M).sort(stable=True).indices
    truth_N = truth_M.index_select(0, order_N)
    return order_N if row_N is None else row_N.index_select(0, order_N), truth_N


def _contenders(truth_M: Tensor, key_M: Tensor, k: int, truths: int, most: int | None) -> Tensor:
    """The rows, ascending, that can be among the k largest keys of their truth; some more come along.

    Sorting takes most of the time of an assignment. A histogram of each truth's keys, by their distance from
    its largest one, shows below which bar none of the k largest lies; a tenth of the rows is left to sort.
    """
    bar_M, last_G = _histogram(truth_M, key_M, k, truths, most)
    return (bar_M <= last_G.index_select(0, truth_M)).nonzero().squeeze(1)


def kth_at_least(pairs: Pairs, key_M: Tensor, k: int, truths: int) -> Tensor:
    """A value that at least k pairs of the truth reach, (G,) float32, or 2^-32 where there are fewer.

    Args:
        key_M: the bits, int32, of values from 0 to 1.
    """
    _, last_G = _histogram(pairs.truth_M, key_M, k, truths, ONE)
    return (((ONE >> BAR_BITS) - last_G).to(torch.int32) << BAR_BITS).view(torch.float32)


def _histogram(
    truth_M: Tensor, key_M: Tensor, k: int, truths: int, most: int | None
) -> tuple[Tensor, Tensor]:
    """The bar of each key, counted downwards from `most`, else from the truth's largest key, (M,), and the
    last bar that holds one of the k largest, (G,)."""
    level_M = key_M >> BAR_BITS
    if most is None:
        best_G = level_M.new_full((truths,), LOWEST).scatter_reduce_(0, truth_M, level_M, "amax")
        bar_M = best_G.index_select(0, truth_M).sub_(level_M).clamp_(max=BARS - 1)
    else:
        bar_M = ((most >> BAR_BITS) - level_M).clamp_(max=BARS - 1)
    count_GH = counts((truth_M * BARS).add_(bar_M), truths * BARS).view(truths, BARS)
    return bar_M, (count_GH.cumsum(1) < k).sum(1)


def counts(group_M: Tensor, groups: int) -> Tensor:
    """How many rows each group has, int64; as torch.bincount, but without a wait for the device."""
    return group_M.new_zeros(groups).scatter_add_(0, group_M, group_M.new_ones(1).expand(len(group_M)))


def rank_within(group_M: Tensor, groups: int) -> Tensor:
    """The place of each row within its group, from 0; rows are sorted by group."""
    start_M = _starts(group_M, groups).index_select(0, group_M)
    return torch.arange(len(group_M), device=group_M.device).sub_(start_M)


def within_first(group_M: Tensor, k: int | Tensor) -> Tensor:
    """Whether each row is among the first k of its group, one k for all or (G,); rows are sorted by group."""
    if isinstance(k, int):  # the row k places above belongs to another group
        return pad(group_M, (k, 0), value=-1)[: len(group_M)] != group_M
    end_G = _starts(group_M, len(k)).add_(k)
    return torch.arange(len(group_M), device=group_M.device) < end_G.index_select(0, group_M)


def _starts(group_M: Tensor, groups: int) -> Tensor:
    """The first row of each group."""
    return torch.searchsorted(group_M, torch.arange(groups, device=group_M.device))


def first_best(group_K: Tensor, value_K: Tensor, groups: int, among_K: Tensor | None = None) -> Tensor:
    """The row of the largest value of each group, (G,); ties to the earlier row; K where a group has none.

    Args:
        among_K: the rows that take part; None for all.
    """
    rows = len(group_K)
    if among_K is not None:
        value_K = value_K.masked_fill(~among_K, -torch.inf)
    best_G = value_K.new_full((groups,), -torch.inf).scatter_reduce_(0, group_K, value_K, "amax")
    worse_K = value_K != best_G.index_select(0, group_K)
    if among_K is not None:
        worse_K |= ~among_K
    row_K = torch.arange(rows, device=group_K.device).masked_fill_(worse_K, rows)
    return row_K.new_full((groups,), rows).scatter_reduce_(0, group_K, row_K, "amin")


def best_per_cell(cell_K: Tensor, value_K: Tensor, cells: int, among_K: Tensor | None = None) -> Tensor:
    """The row of the largest value of each cell that has one, sorted by cell; ties to the earlier row."""
    row_P = first_best(cell_K, value_K, cells, among_K)
    return row_P[row_P < len(cell_K)]


def settle_among_all(cell_M: Tensor, row_N: Tensor, claims_N: Tensor, value_M: Tensor, cells: int) -> Tensor:
    """One truth per claimed point, where a contested point goes to the best of *all* its candidates.

    Args:
        cell_M: the cell of each pair.
        row_N, claims_N: some rows of the pairs, and which of them claim their point.
        value_M: the larger, the better; ties to the lower truth.
        cells: how many cells there are in the batch.

    Returns:
        The rows of the winners, sorted by cell. A truth may win a point that it had not claimed.
    """
    cell_N = cell_M.index_select(0, row_N)
    contested_P = cell_N.new_zeros(cells).scatter_add_(0, cell_N, claims_N.long()) > 1
    rivals_M = contested_P.index_select(0, cell_M)
    rivals_M.index_copy_(0, row_N, claims_N | contested_P.index_select(0, cell_N))
    row_R = rivals_M.nonzero().squeeze(1)
    return row_R[best_per_cell(cell_M[row_R], value_M[row_R], cells)]


def predicted(
    pairs: Pairs, cell_M: Tensor, predictions: Predictions, truth: GroundTruth
) -> tuple[Tensor, Tensor]:
    """The probability p_M of the truth's class and the predicted boxes (M, 4) of the pairs, float32."""
    classes = predictions.scores_BPC.shape[2]
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
