"""Timing by turns: every way once, then every way again, and the median of each counts.

So that whatever slows the machine for a while slows all of them.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console

from benchmarks.core.cost import seconds
from command_line import new_folder


def medians(ways: Mapping[str, Callable[[], object]], repeats: int, device: str = "cpu") -> dict[str, float]:
    """The median seconds of each way after one call that is not timed; on a GPU until the work is done."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            taken = seconds(way, device)
            if turn:
                times[name].append(taken)
    return {name: median(own) for name, own in times.items()}


def machine(device: str = "cpu") -> str:
    """What the figures were measured on."""
    cpu = f"{torch.get_num_threads()} threads on {os.cpu_count()} CPU cores, {platform.machine()}"
    return cpu if device == "cpu" else f"{torch.cuda.get_device_name()}, {cpu}"


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *lines))


def write(report: Mapping[str, Any], text: str, folder: str | Path, name: str) -> None:
    """Prints the text and writes it to NAME.md beside the figures in NAME.json.

    `report["ratios"]`, of which more is better, is what benchmarks.guard watches.
    """
    file = new_folder(folder) / f"{name}.json"
    file.write_text(json.dumps(report, indent=1) + "\n")
    file.with_suffix(".md").write_text(text + "\n")
    console = Console()
    console.print(text, markup=False, highlight=False)
    console.print(f"written: {file} and {file.with_suffix('.md')}", markup=False)
