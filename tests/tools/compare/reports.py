"""The files of a report, from the words of a command line."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from command_line import parse
from tools.compare.__main__ import Options, report


def made(runs: Path, out: Path, *words: str) -> dict[str, str]:
    """The files of the report."""
    console = Console(file=io.StringIO(), width=150)
    resamples = [] if any(word.startswith("resamples=") for word in words) else ["resamples=50"]
    files = report(parse(Options, [str(runs), f"out={out}", *resamples, *words]), console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    return {file.name: file.read_text() for file in files} | {"printed": printed}
