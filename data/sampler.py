"""The order of an epoch: which images make a batch, and which a step of the optimizer.

Shape legend: I images of the data set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from data.sample import Index
from errors import UsageError


class Request(NamedTuple):
    """What a data worker is asked for: the images of a batch, and the others whose sizes set its canvas.

    A `side` above 0 makes squares of that many pixels of them.
    """

    own: Sequence[Index]
    beside: Sequence[Index] = ()
    side: int = 0


class EpochSampler(Sampler[Request]):
    """The batches of one epoch, in an order that depends on (seed, epoch) only.

    Portrait and landscape images make steps of their own as far as they fill whole ones, which leaves half as
    much padding; the rest follows at the end. With several ranks, each takes its share of every batch. Images
    that do not fill a batch on every rank are left out of the epoch, unless there is not even one such batch:
    then it is a smaller one.

    Args:
        portrait_I: bool, which images are higher than wide.
        batch_size: images of a batch on each rank.
        accumulate: batches of one step.
        sides: the squares of which one is drawn for all images of a step; empty where ratios are kept.

    Raises:
        UsageError: if there are fewer images than ranks.
    """

    def __init__(
        self,
        portrait_I: np.ndarray,
        batch_size: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        accumulate: int = 1,
        sides: Sequence[int] = (),
    ) -> None:
        if batch_size < 1 or len(portrait_I) < ranks:
            raise UsageError(
                f"{len(portrait_I)} images, batches of {batch_size}, {ranks} processes: nothing to do for one"
            )
        self.portrait_I, self.batch_size, self.seed = portrait_I, batch_size, seed
        self.rank, self.ranks, self.accumulate, self.sides = rank, ranks, accumulate, sides
        self.epoch, self.start = 0, 0

    def set(self, epoch: int, start: int = 0) -> None:
        """Which epoch comes next, and how many of its batches were seen before an interruption."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank."""
        return max(1, len(self.portrait_I) // (self.batch_size * self.ranks))

    def __iter__(self) -> Iterator[Request]:
        batch = self.batch_size * self.ranks
        step = batch * self.accumulate
        key = np.random.SeedSequence((self.seed, self.epoch))
        drawn = np.random.Generator(np.random.PCG64(key)).permutation(len(self.portrait_I))
        # Those left out are drawn before the grouping, or rare portraits would be left out in every epoch.
        order = self._grouped(drawn[: len(self) * batch], step)
        for number in range(self.start, len(self)):
            own = np.arange(number * batch, min((number + 1) * batch, len(order)))[self.rank :: self.ranks]
            first = number // self.accumulate * step
            beside = np.setdiff1d(np.arange(first, min(first + step, len(order))), own)
            side = self._side(number // self.accumulate)
            others = [] if side else self._indices(order[beside])
            yield Request(self._indices(order[own]), others, side)

    def _side(self, step: int) -> int:
        """The square of a step: it depends on (seed, epoch, step) only; 0 for none."""
        if not self.sides:
            return 0
        key = np.random.SeedSequence((self.seed, self.epoch, step, 1))
        return self.sides[int(np.random.Generator(np.random.PCG64(key)).integers(len(self.sides)))]

    def _indices(self, images: np.ndarray) -> list[Index]:
        return [(self.epoch, image) for image in images.tolist()]

    def _grouped(self, order_I: np.ndarray, step: int) -> np.ndarray:
        """Whole steps of one orientation, in the order in which they fill, then the rest."""
        steps: list[tuple[int, np.ndarray]] = []
        rest: list[np.ndarray] = []
        for portrait in (False, True):
            places = np.flatnonzero(self.portrait_I[order_I] == portrait)
            whole = len(places) // step * step
            steps += [(int(own[-1]), order_I[own]) for own in places[:whole].reshape(-1, step)]
            rest.append(order_I[places[whole:]])
        steps.sort(key=lambda filled: filled[0])
        return np.concatenate([*(images for _, images in steps), *rest])
