"""The table that ends a run, and the headings of numbers and assigners."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

METRICS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR100")
# Shown where a run measured them: older ones lack them, and AP_300 needs images with over 100 objects.
FURTHER = {
    "AP_crowded": ("AP, crowded half", "{:.1f}"),
    "AP_300": ("AP, 300 detections", "{:.1f}"),
    "duplicate_rate": ("duplicates per object", "{:.3f}"),
    "usable_recall": ("usable recall", "{:.1f}"),
    "usable_precision": ("usable precision", "{:.1f}"),
    "calibration_error": ("calibration error", "{:.3f}"),
}
TITLES = {
    "atss": "ATSS", "dsla": "DSLA", "fcos": "FCOS", "o2f": "O2F", "poto": "POTO", "simota": "SimOTA",
    "tal": "TAL", "atss_tal": "ATSS, then TAL", "tal_one_to_few": "TAL, O2F's labels",
    "max_iou": "max IoU", "hungarian": "Hungarian", "dw": "DW", "rfla": "RFLA",
    "dual_tal": "TAL + one-to-one TAL", "dual_tal_scheduled": "TAL + one-to-one TAL, scheduled",
    "dual_o2f": "TAL + O2F", "o2f_max_filter": "O2F, max filtering", "poto_3dmf_aux": "POTO, 3DMF, Aux",
}  # fmt: skip


def assigner_title(name: str) -> str:
    """The display name of an assigner, as its paper writes it; a name of a user's own stays as it is."""
    return TITLES.get(name, name)


def result_table(title: str, summary: Mapping[str, Any]) -> Table:
    """Every number with NMS and NMS-free, side by side, and the gap between the APs."""
    table = Table(title=title)
    table.add_column("metric")
    for heading in ("NMS", "NMS-free", "gap"):
        table.add_column(heading, justify="right")
    for metric in METRICS:
        pair = summary["nms"][metric], summary["nms_free"][metric]
        gap = "-" if None in pair else f"{pair[0] - pair[1]:+.1f}"
        table.add_row(metric, *map(show, pair), gap)
    for key, (heading, style) in FURTHER.items():
        values = [summary[name].get(key) for name in ("nms", "nms_free")]
        if values != [None, None]:
            table.add_row(heading, *("-" if value is None else style.format(value) for value in values), "")
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
