"""One assigner at the start of training and another one after it."""

from __future__ import annotations

from .core.types import Assigner, Assignment, GroundTruth, PointGrid, Predictions


class Scheduled(Assigner):
    """`first` while progress < switch, then `second`.

    Predictions are noise at first, which an assigner of geometry alone does not read. So PicoDet's recipe of
    2022 (PaddleDetection, picodet_v2.yml) uses ATSS for a third of training, then TAL.

    Args:
        first, second: assigners; both are given the progress of the whole training.
        switch: in [0, 1]; 0 uses `second` alone.
    """

    def __init__(self, first: Assigner, second: Assigner, switch: float = 1 / 3) -> None:
        for assigner in (first, second):
            if not isinstance(assigner, Assigner):
                raise ValueError(f"first and second must be assigners, got {assigner!r}")
        if not 0 <= switch <= 1:
            raise ValueError(f"switch must lie in 0 to 1, got {switch}")
        self.first, self.second, self.switch = first, second, switch

    def __call__(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
    ) -> Assignment:
        """The positives of a batch."""
        return self._active(progress)(grid, predictions, truth, progress)

    def soft_target(self, progress: float) -> float | None:
        """That of the assigner in use at this progress."""
        return self._active(progress).soft_target(progress)

    def _active(self, progress: float) -> Assigner:
        return self.first if progress < self.switch else self.second
