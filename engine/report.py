"""What a person sees at the end of a run: the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

METRICS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR100")


def result_table(title: str, summary: Mapping[str, Any]) -> Table:
    """AP with NMS and without, side by side, with the gap and the duplicate rates."""
    table = Table(title=title)
    table.add_column("metric")
    for heading in ("NMS", "NMS-free", "gap"):
        table.add_column(heading, justify="right")
    for metric in METRICS:
        pair = summary["nms"][metric], summary["nms_free"][metric]
        gap = "-" if None in pair else f"{pair[0] - pair[1]:+.1f}"
        table.add_row(metric, *map(show, pair), gap)
    rates = [f"{summary[name]['duplicate_rate']:.3f}" for name in ("nms", "nms_free")]
    table.add_row("duplicates per object", *rates, "")
    for name, other in summary.get("others", {}).items():
        pair = other["nms"]["AP"], other["nms_free"]["AP"]
        gap = "-" if None in pair else f"{pair[0] - pair[1]:+.1f}"
        table.add_row(f"AP of predictor {name}", *map(show, pair), gap)
    return table


def show(value: float | None) -> str:
    """One decimal, or a dash where there is nothing to measure."""
    return "-" if value is None else f"{value:.1f}"


def print_result(console: Console, title: str, summary: Mapping[str, Any], directory: str) -> None:
    """The table, and where the rest is."""
    console.print(result_table(title, summary))
    if summary["unreadable"]:
        console.print(f"{summary['unreadable']} images could not be read and count as missed", style="yellow")
    console.print(f"run directory: {directory}", soft_wrap=True)
    console.print(f"pictures:      {directory}/pictures", soft_wrap=True)
