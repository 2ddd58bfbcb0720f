"""Draws the statistics that explain AP as bars, one colour per assigner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from engine.log.report import assigner_title
from engine.log.statistics import BUCKETS
from tools.visualize.pictures import DPI, WIDTH
from tools.visualize.statistics import Statistics

ASSIGNER_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc3377", "#56b4e9", "#7f7f7f")
BUCKET_TITLES = ("small\n< 32² px", "medium\n32² to 96² px", "large\n> 96² px", "all")


def statistics_figure(found: Mapping[str, Statistics], strides: Sequence[int], note: str) -> Figure:
    """Four panels of grouped bars, one colour per assigner; `note` says what was counted."""
    figure = Figure(figsize=(WIDTH, 8.4), dpi=DPI, layout="constrained")
    panels = figure.subplots(2, 2)
    level_titles = [f"P{stride.bit_length() - 1}\nstride {stride}" for stride in strides]
    for ax, heading, groups, what, factor, style in (
        (panels[0][0], "Positives per truth", BUCKET_TITLES, "positives_per_truth", 1, "{:.1f}"),
        (panels[0][1], "Positives per FPN level (% of all)", level_titles, "level_share", 100, "{:.1f}"),
        (panels[1][0], "Mean soft score of the positives", BUCKET_TITLES, "mean_score", 1, "{:.2f}"),
        (panels[1][1], "Truths without a positive (%)", BUCKET_TITLES, "starved_share", 100, "{:.1f}"),
    ):
        values = [factor * getattr(statistics, what) for statistics in found.values()]
        _bars(ax, heading, groups, values, style)
    truths = next(iter(found.values())).truths_3
    sizes = ", ".join(f"{number} {bucket}" for bucket, number in zip(BUCKETS, truths.tolist(), strict=True))
    handles = [
        Patch(color=ASSIGNER_COLORS[row % len(ASSIGNER_COLORS)], label=assigner_title(name))
        for row, name in enumerate(found)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(found), fontsize=12, frameon=False)
    figure.suptitle(f"{note}\n{truths.sum()} truths: {sizes}", fontsize=12)
    return figure


def _bars(ax: Axes, heading: str, groups: Sequence[str], values: Sequence[np.ndarray], style: str) -> None:
    width, place = 0.84 / len(values), np.arange(len(groups))
    for row, value in enumerate(values):
        offset = (row - (len(values) - 1) / 2) * width
        bars = ax.bar(place + offset, value, width * 0.94, color=ASSIGNER_COLORS[row % len(ASSIGNER_COLORS)])
        texts = ["" if np.isnan(number) else style.format(number) for number in value.tolist()]
        ax.bar_label(bars, texts, fontsize=8.5, padding=1.5)
    ax.set_title(heading, fontsize=13)
    ax.set_xticks(place, groups, fontsize=10.5)
    ax.set_ylim(0, 1.13 * max(np.nanmax(np.concatenate(values), initial=0.0), 0.01))
    ax.grid(axis="y", color="0.9")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
