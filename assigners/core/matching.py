"""One point per truth, so that the sum of qualities is the largest possible: an exact sparse matching.

Most truths simply keep their first choice, which one segmented sort finds for the whole batch. Only truths
that lose it to another one enter the search: one at a time, along the shortest augmenting path (Jonker and
Volgenant, Computing 38, 1987), which touches the few truths around them and nothing else.

Shape legend: G truths, M candidate pairs, K chosen rows of the M.
"""

from __future__ import annotations

from heapq import heappop, heappush

import torch
from torch import Tensor

from .pairs import Pairs
from .ranking import best_per_cell, counts, top_per_truth

MISSED = -1.0  # what a truth without a point counts


def best_matching(
    pairs: Pairs, cell_M: Tensor, value_M: Tensor, truths: int, cells: int, missed: float = MISSED
) -> Tensor:
    """The rows of the one-to-one matching with the largest sum of values, sorted by cell.

    A truth may stay without a point, which counts `missed`; it does so only where its candidates are worth
    more to others. Of equal first choices of a truth the lower point is tried first, and of truths with equal
    claims to a point the lower one keeps it; among matchings of equal sums the choice is the same on every
    run.

    Args:
        cell_M: the cell of each pair.
        value_M: what a pair is worth, float32, above `missed`.
        truths, cells: how many there are in the batch.
        missed: what a truth without a point counts; far below all values, no more truths than necessary have
            none.
    """
    order_M = top_per_truth(pairs, value_M, len(cell_M), truths)
    truth_M = pairs.truth_M[order_M]
    count_G = counts(truth_M, truths)
    start_G = count_G.cumsum(0) - count_G
    has_G = count_G > 0
    choice_K = order_M[start_G[has_G]]
    row_K = choice_K[best_per_cell(cell_M[choice_K], value_M[choice_K], cells)]
    if len(row_K) == len(choice_K):
        return row_K
    held_G = torch.zeros_like(has_G)
    held_G[pairs.truth_M[row_K]] = True
    # What follows goes from one truth to the next, so it is for the CPU, in float64.
    matching = _Matching(
        order_M.cpu(), cell_M[order_M].cpu(), value_M[order_M].cpu(), start_G, count_G, missed
    )
    matching.keep(*(t.tolist() for t in (pairs.truth_M[row_K], cell_M[row_K], value_M[row_K], row_K)))
    for truth in (has_G & ~held_G).nonzero().squeeze(1).tolist():
        matching.insert(truth)
    row_K = torch.tensor(matching.rows(), device=cell_M.device)
    return row_K[cell_M[row_K].argsort()]


class _Matching:
    """The best matching of the truths inserted so far, and the prices of cells that prove it the best.

    No truth would rather have another cell at its price, or none, than what it has; cells that nobody holds
    cost nothing. A truth's profit is the value of its pair less the price of its cell.
    """

    def __init__(
        self,
        row_M: Tensor,
        cell_M: Tensor,
        value_M: Tensor,
        start_G: Tensor,
        count_G: Tensor,
        missed: float,
    ) -> None:
        self.missed = missed
        self.sorted = cell_M, value_M, row_M  # truth by truth, best first
        self.start, self.count = start_G.tolist(), count_G.tolist()
        self.wishes: dict[int, list[tuple[int, float, int]]] = {}
        self.held: dict[int, tuple[int, float, int]] = {}  # truth -> its cell, value and row
        self.owner: dict[int, int] = {}
        self.price: dict[int, float] = {}

    def keep(self, truths: list[int], cells: list[int], values: list[float], rows: list[int]) -> None:
        """Truths that have their first choice to themselves."""
        self.held = dict(zip(truths, zip(cells, values, rows, strict=True), strict=True))
        self.owner = dict(zip(cells, truths, strict=True))

    def rows(self) -> list[int]:
        return [row for _, _, row in self.held.values()]

    def insert(self, newcomer: int) -> None:
        """Finds the chain of lowest loss in which each truth gives its cell to the one before.

        The chain ends at a free cell or leaves its last truth, maybe the newcomer itself, without any. The
        loss of a truth or a cell is what reaching it costs the truths before it.
        """
        profit = max(value - self.price.get(cell, 0.0) for cell, value, _ in self._wishes(newcomer))
        truth, loss, profit = newcomer, 0.0, max(profit, self.missed)
        losses: dict[int, float] = {}
        claim: dict[int, tuple[int, tuple[int, float, int]]] = {}  # cell -> truth that asks for it, its pair
        queue: list[tuple[float, int]] = []
        closed: list[int] = []
        best = profit - self.missed  # the newcomer goes without
        end: int | None = None
        dropped: int | None = None
        while True:
            if loss + profit - self.missed < best:
                best, end, dropped = loss + profit - self.missed, self.held[truth][0], truth
            for pair in self._wishes(truth):
                cell, value, _ = pair
                if loss + profit - value >= best:
                    break  # nor do later ones gain, whose values are lower
                reached = loss + max(0.0, profit - value + self.price.get(cell, 0.0))
                if reached < min(losses.get(cell, best), best):
                    losses[cell], claim[cell] = reached, (truth, pair)
                    if cell in self.owner:
                        heappush(queue, (reached, cell))
                    else:
                        best, end, dropped = reached, cell, None
            while queue and losses[queue[0][1]] < queue[0][0]:
                heappop(queue)
            if not queue or queue[0][0] >= best:
                break
            loss, cell = heappop(queue)
            closed.append(cell)
            truth = self.owner[cell]
            profit = self.held[truth][1] - self.price.get(cell, 0.0)
        for cell in closed:
            self.price[cell] = self.price.get(cell, 0.0) + best - losses[cell]
        if end is None:
            return
        if dropped is not None:
            del self.held[dropped]
        cell = end
        while True:
            truth, pair = claim[cell]
            before = self.held.get(truth)
            self.held[truth], self.owner[cell] = pair, truth
            if before is None:
                return
            cell = before[0]

    def _wishes(self, truth: int) -> list[tuple[int, float, int]]:
        if truth not in self.wishes:
            part = slice(self.start[truth], self.start[truth] + self.count[truth])
            self.wishes[truth] = list(zip(*(t[part].tolist() for t in self.sorted), strict=True))
        return self.wishes[truth]
