"""One assigner at the start of training and another one after it."""

from __future__ import annotations

from collections.abc import Callable

from .core.types import Assignment, GroundTruth, PointGrid, Predictions


class Scheduled:
    """`first` while progress < switch, then `second`.

    An assigner that reads predictions learns from noise at first; one that looks at places only does not. So
    PicoDet's recipe of 2022 (PaddleDetection, picodet_v2.yml) uses ATSS for a third of training, then TAL.

    Args:
        first, second: assigners; both are given the progress of the whole training.
        switch: in [0, 1]; 0 uses `second` alone.
    """

    def __init__(
        self, first: Callable[..., Assignment], second: Callable[..., Assignment], switch: float = 1 / 3
    ) -> None:
        for assigner in (first, second):
            if not callable(assigner):
                raise ValueError(f"first and second must be assigners, got {assigner!r}")
        if not 0 <= switch <= 1:
            raise ValueError(f"switch must lie in 0 to 1, got {switch}")
        self.first, self.second, self.switch = first, second, switch

    def __call__(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
    ) -> Assignment:
        """The positives of a batch."""
        assigner = self.first if progress < self.switch else self.second
        return assigner(grid, predictions, truth, progress)
