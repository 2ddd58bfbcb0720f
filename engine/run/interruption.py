"""Ctrl-C, and the signals of a cluster's scheduler: asked for once, a run ends after its current step."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType


class Interruption:
    """While this context lasts, the first signal sets `asked`; a second Ctrl-C ends the run at once.

    A second SIGTERM changes nothing: schedulers signal torchrun and its processes, and torchrun those again.

    A launcher such as submitit listens for SIGUSR1 or SIGUSR2, by which SLURM announces the end of a job, and
    puts the job back into the queue. Its handler is called once the run is saved.

    Args:
        say: shows a line to the user.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.asked = False
        self._say, self._process = say, os.getpid()
        self._announced: signal.Signals | None = None

    def __enter__(self) -> Interruption:
        users = (signal.SIGUSR1, signal.SIGUSR2)
        listened = [number for number in users if callable(signal.getsignal(number))]
        signals = (signal.SIGINT, signal.SIGTERM, *listened)
        self._previous = {number: signal.signal(number, self._stop) for number in signals}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        # Whoever asks may also end the data workers or other ranks, and then that is what is seen here. The
        # last checkpoint is some minutes old at most, and a sweep must not go on to its next job.
        cut = self.asked and isinstance(error, RuntimeError | KeyboardInterrupt)
        if cut and self._announced is not None:
            requeue = self._previous[self._announced]
            assert callable(requeue)
            requeue(self._announced, None)  # and ends the process
        if cut and isinstance(error, RuntimeError):
            raise KeyboardInterrupt from error

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a data worker: the terminal sends Ctrl-C to all of them
            return
        announcement = number not in (signal.SIGINT, signal.SIGTERM)
        if announcement:
            self._announced = signal.Signals(number)
        if self.asked:
            # SLURM sends SIGTERM beside its announcement: only Ctrl-C is the second wish of a person.
            if number == signal.SIGINT and self._announced is None:
                raise KeyboardInterrupt
            return
        self.asked = True
        self._say("interrupted: saving after this step; the same command continues the run")
