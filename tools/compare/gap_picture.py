"""Draws the gap report: for each row the gap, the duplicates and the usable recall of every data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tools.compare.gap_numbers import GapRow, MeanRow, labels_in_order
from tools.visualize.pictures import DPI, WIDTH

COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc3377", "#56b4e9", "#a88400", "#7a52c7", "#7f7f7f")
LONGEST = 40  # characters of a row's label
GOALS = {"gap": 0.3, "duplicates": 0.1, "usable recall": 90.0}


def gap_figure(rows: Sequence[GapRow], over_sets: Sequence[MeanRow]) -> Figure:
    """Three panels, a line per row; a dot is a data set, the diamond the mean with its interval over sets."""
    labels = labels_in_order(rows, over_sets)
    figure = Figure(figsize=(WIDTH, 1.9 + 0.42 * len(labels)), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    sets = list(dict.fromkeys(row.data for row in rows))
    shown = [label if len(label) <= LONGEST else f"{label[: LONGEST - 3]}..." for label in labels]
    panels[0].set_yticks(range(len(labels)), shown)
    panels[0].invert_yaxis()
    _dots(panels[0], rows, labels, sets, "gap", lambda row: row.gap.mean)
    for place, mean in enumerate(over_sets):
        if mean.gap.low == mean.gap.low:
            panels[0].hlines(place, mean.gap.low, mean.gap.high, color="black", linewidth=1.5)
        panels[0].plot(mean.gap.mean, place, "D", color="black", markersize=6)
    panels[0].set_title("AP with NMS minus AP without", fontsize=12)
    _dots(panels[1], rows, labels, sets, "duplicates", lambda row: row.duplicates)
    panels[1].set_title("Duplicates per object", fontsize=12)
    _dots(panels[2], rows, labels, sets, "usable recall", _share)
    panels[2].set_title("Usable recall, % of that with NMS", fontsize=12)
    for ax in panels:
        ax.grid(axis="x", color="0.9")
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(6, len(names)), frameon=False)
    return figure


def _share(row: GapRow) -> float | None:
    return None if row.recall is None or not row.recall_nms else 100 * row.recall / row.recall_nms


def _dots(
    ax: Axes,
    rows: Sequence[GapRow],
    labels: Sequence[str],
    sets: Sequence[str],
    goal: str,
    value: Callable[[GapRow], float | None],
) -> None:
    """Each data set in its colour, a little apart; a dotted line shows the goal of docs/gap.md."""
    for number, data in enumerate(sets):
        there = [(value(row), labels.index(row.label)) for row in rows if row.data == data]
        apart = 0.3 * (number / max(1, len(sets) - 1) - 0.5)
        shown = [(x, place + apart) for x, place in there if x is not None]
        x, y = ([point[axis] for point in shown] for axis in (0, 1))
        ax.plot(x, y, "o", color=COLORS[number % len(COLORS)], markersize=5, alpha=0.85, label=data)
    ax.axvline(GOALS[goal], color="0.4", linestyle=":", linewidth=1.2)
