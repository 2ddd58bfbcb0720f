"""Draws the error analysis of a run: kinds of error, precision over recall, scores with and without NMS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.outcomes import MOST_DUPLICATES
from evaluation.results import SELECTIONS
from evaluation.tide import KINDS
from tools.visualize.pictures import DPI, WIDTH

COLORS = {"nms": "#0072b2", "nms_free": "#e69f00"}
OUTCOMES = {"certain": "#009e73", "duplicate": "#cc3377", "false": "#9a9a9a"}
LINES = {"0.5": "-", "0.75": "--"}


def errors_figure(result: Mapping[str, Any], name: str) -> Figure:
    """Four panels from what `error_analysis.analyse` gives."""
    figure = Figure(figsize=(WIDTH, 9.4), dpi=DPI, layout="constrained")
    panels = figure.subplots(2, 2)
    _kinds(panels[0][0], result)
    _curves(panels[0][1], result)
    for ax, selection in zip(panels[1], result, strict=False):
        _scores(ax, selection, result[selection])
    top = max(10, *(ax.get_ylim()[1] for ax in panels[1]))
    for ax in panels[1]:
        ax.set_ylim(0.8, top)
    for ax in panels[1][len(result) :]:
        figure.delaxes(ax)  # foreign results may hold one selection alone
    for ax in figure.axes:
        ax.grid(color="0.9")
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle(name, fontsize=12)
    return figure


def _kinds(ax: Axes, result: Mapping[str, Any]) -> None:
    ax.set_title("AP50 won without the errors of one kind", fontsize=13)
    if any(one["tide"] is None for one in result.values()):
        ax.text(0.5, 0.5, "needs hotcoco", ha="center", va="center", transform=ax.transAxes, fontsize=12)
        ax.set_xticks([])
        ax.set_yticks([])
        return
    place = np.arange(len(KINDS))
    for row, (selection, one) in enumerate(result.items()):
        won, title = list(one["tide"]["won"].values()), SELECTIONS[selection]
        label = f"{title}, AP50 {one['tide']['AP50']:.1f}"
        bars = ax.barh(place + (row - 0.5) * 0.4, won, 0.38, color=COLORS[selection], label=label)
        ax.bar_label(bars, [f"{value:.1f}" for value in won], fontsize=8.5, padding=2)
    ax.set_yticks(place, list(KINDS), fontsize=10.5)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.15 * max(ax.get_xlim()[1], 1.0))
    ax.set_xlabel("points")
    _legend_below(ax)


def _curves(ax: Axes, result: Mapping[str, Any]) -> None:
    for selection, one in result.items():
        title = SELECTIONS[selection]
        for iou, precision in one["curves"].items():
            recall = np.linspace(0, 1, len(precision))
            label = f"{title}, IoU {iou}"
            ax.plot(recall, precision, LINES[iou], color=COLORS[selection], label=label)
    ax.set_title("Precision over recall, mean of classes", fontsize=13)
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    _legend_below(ax)


def _scores(ax: Axes, selection: str, one: Mapping[str, Any]) -> None:
    if any(sum(one["histogram"][outcome]) for outcome in OUTCOMES):
        ax.set_yscale("log")
    edges = one["histogram"]["edges"]
    for outcome, color in OUTCOMES.items():
        counts = one["histogram"][outcome]
        label = f"{outcome} ({sum(counts):,})"
        ax.stairs(counts, edges, color=color, linewidth=2, label=label)
    if one["usable"]:
        threshold = one["usable"]["threshold"]
        label = f"≤ {MOST_DUPLICATES} duplicates per object: {threshold:.2f}"
        ax.axvline(threshold, color="black", linestyle=":", linewidth=1.5, label=label)
    ax.set_title(f"Scores, {SELECTIONS[selection]}", fontsize=13)
    ax.set(xlabel="score", ylabel="detections (log)", xlim=(0, 1))
    _legend_below(ax)


def _legend_below(ax: Axes) -> None:
    """Under the panel, where no curve runs through it."""
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14)}
    ax.legend(fontsize=10, ncols=2, frameon=False, **place)
