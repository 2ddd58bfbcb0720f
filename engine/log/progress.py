"""A progress bar on a terminal; where there is none, one line per bar, so that logs stay readable."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressBar:
    """Counts to `total`; `show` sets the words beside the bar."""

    def __init__(self, console: Console, title: str, total: int, done: int = 0) -> None:
        self._console, self._title, self._total = console, title, total
        self._words, self._start = "", time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=total, completed=done, words="")

    def advance(self) -> None:
        """One more."""
        self._bar.advance(self._task)

    def show(self, words: str) -> None:
        """Sets the words beside the bar."""
        self._words = words
        self._bar.update(self._task, words=words)

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if error is None:
            seconds = time.monotonic() - self._start
            self._console.print(
                f"{self._title}: {self._total} batches in {seconds:.0f} s  {self._words}", highlight=False
            )
