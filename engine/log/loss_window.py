"""The mean losses of the batches since the last line of the log."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from engine import distributed
from errors import UsageError


class LossWindow:
    """Sums losses on their device, so that adding a batch costs no synchronisation."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._sum: Tensor | None = None
        self._batches = 0

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Counts the losses of one batch, by name; all batches have the same names."""
        values = torch.stack(list(losses.values())).detach()
        self._names = tuple(losses)
        self._sum = values if self._sum is None else self._sum + values
        self._batches += 1

    def means(self) -> dict[str, float]:
        """The means over the batches since `clear` and over the ranks (collective)."""
        if self._sum is None:
            return {}
        sums = distributed.sum_over_ranks(self._sum.clone()).tolist()
        count = self._batches * distributed.ranks()
        return {name: value / count for name, value in zip(self._names, sums, strict=True)}

    def clear(self) -> None:
        """Starts the count anew."""
        self._sum, self._batches = None, 0


def is_lost(means: Mapping[str, float]) -> bool:
    """Whether some loss is no longer a number, and so the weights are not."""
    return not math.isfinite(sum(means.values()))


def sound_means(window: LossWindow, step: int) -> dict[str, float]:
    """The means of a window (collective). Where they are lost, the run ends before its weights are saved.

    Raises:
        UsageError: at this step some loss of the window is no longer a number.
    """
    means = window.means()
    if is_lost(means):
        error = (
            f"the loss is {sum(means.values())} at step {step}: lower schedule.lr or set schedule.clip_norm"
        )
        distributed.end(UsageError(f"{error}; a checkpoint from before is kept"))
    return means
