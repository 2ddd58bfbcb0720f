"""Ctrl-C, and the SIGTERM of a cluster's scheduler: asked for once, a run ends after its current step."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType


class Interruption:
    """While this context lasts, the first signal sets `asked`; a second Ctrl-C ends the run at once.

    A second SIGTERM says nothing new: schedulers signal torchrun and its processes, and torchrun those again.

    Args:
        say: shows a line to the user.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.asked = False
        self._say, self._process = say, os.getpid()

    def __enter__(self) -> Interruption:
        signals = (signal.SIGINT, signal.SIGTERM)
        self._previous = {number: signal.signal(number, self._stop) for number in signals}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        # Whoever asks may also end the data workers or other ranks, and then that is what is seen here. The
        # last checkpoint is some minutes old at most, and a sweep must not go on to its next job.
        if self.asked and isinstance(error, RuntimeError):
            raise KeyboardInterrupt from error

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a data worker: the terminal sends Ctrl-C to all of them
            return
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.asked:
            return
        self.asked = True
        self._say("interrupted: saving after this step; the same command continues the run")
