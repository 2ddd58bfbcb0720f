"""The best pairs of each truth, and one truth per point.

Shape legend: G truths, P cells of the batch (image x P + point), M candidate pairs (truth, point), sorted by
truth and then by point; N and Q some rows of the M; K chosen rows; X bars of a histogram.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from .pairs import Pairs

BARS = 64  # of a histogram of keys
BAR_BITS = 22  # a bar is half an octave of float32
LOWEST = -(2**31)  # of int32
ONE = 0x3F800000  # the bits of 1.0
MANY = 8  # a histogram pays where a truth has so many times k candidates


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
    return (((ONE >> BAR_BITS) - last_G) << BAR_BITS).view(torch.float32)


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
    count_GX = counts((truth_M * BARS).add_(bar_M), truths * BARS).view(truths, BARS)
    return bar_M, (count_GX.cumsum(1) < k).sum(1, dtype=torch.int32)


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
    row_Q = rivals_M.nonzero().squeeze(1)
    cell_Q, value_Q = cell_M.index_select(0, row_Q), value_M.index_select(0, row_Q)
    return row_Q.index_select(0, best_per_cell(cell_Q, value_Q, cells))
