"""At least so many points for each truth, from those that no other truth has.

Shape legend: G truths, M candidate pairs, K positives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .pairs import Pairs
from .ranking import best_per_cell, counts, top_per_truth


def fill_up(
    pairs: Pairs, cell_M: Tensor, value_M: Tensor, row_K: Tensor, least: int, truths: int, cells: int
) -> Tensor:
    """The rows of the positives and of what brings each truth to `least` of them, sorted by cell.

    In rounds: each truth that has too few asks for the candidate of largest value that is free, ties to the
    lower point; a point that several ask for goes to the largest value, ties to the lower truth. A truth
    whose candidates are all taken is left as it is.

    Args:
        cell_M: the cell of each pair.
        value_M: what a pair is worth to its truth, 0 or more.
        row_K: rows of the pairs that are positive, one per cell.
    """
    while True:
        count_G = counts(pairs.truth_M[row_K], truths)
        taken_P = torch.zeros(cells, dtype=torch.bool, device=cell_M.device)
        taken_P[cell_M[row_K]] = True
        free_M = (count_G[pairs.truth_M] < least) & ~taken_P[cell_M]
        row_N = free_M.nonzero().squeeze(1)
        if len(row_N) == 0:
            return row_K[cell_M[row_K].argsort()]
        asked_K = row_N[top_per_truth(pairs[row_N], value_M[row_N], 1, truths)]
        won_K = asked_K[best_per_cell(cell_M[asked_K], value_M[asked_K], cells)]
        row_K = torch.cat((row_K, won_K))
