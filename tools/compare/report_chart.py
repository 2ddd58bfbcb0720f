"""Charts of the report: places of lines and marks in pixels, drawn by the SVG templates.

Classes c0, c1, ... stand for the groups; the page gives each its colour, for light and for dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose
from typing import Any

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from tools.compare.render import render

WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 36  # margins
COLORS = 8


@dataclass(frozen=True)
class Line:
    """One number of one group over epochs.

    Attributes:
        group: its number, which is its colour.
        points: (epoch, mean, lowest, highest of its seeds).
    """

    group: int
    label: str
    points: Sequence[tuple[float, float, float, float]]


@dataclass(frozen=True)
class Range:
    """From values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self, most: int) -> list[float]:
        """Round numbers in the range."""
        found = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        return [float(tick) for tick in found if self.low - 1e-9 <= tick <= self.high + 1e-9]


def line_chart(lines: Sequence[Line], limits: tuple[float, float] | None = None) -> Markup:
    """A number over epochs; `limits` of the values, so that two charts can be compared."""
    points = [point for line in lines for point in line.points]
    low, high = limits or value_limits(lines)
    x = Range(*_widened(min(p[0] for p in points), max(p[0] for p in points)), LEFT, WIDTH - RIGHT)
    y = Range(*_widened(low, high), HEIGHT - BOTTOM, TOP)
    return render(
        "line_chart.svg",
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        value_ticks=[{"at": y(tick), "text": _number(tick)} for tick in y.ticks(6)],
        epoch_ticks=[{"at": x(t), "text": round(t)} for t in x.ticks(8) if isclose(t, round(t))],
        lines=[_drawn(line, x, y) for line in lines],
    )


def _drawn(line: Line, x: Range, y: Range) -> dict[str, Any]:
    """Colour, path, band between the seeds and dots of a line."""
    upper = [f"{x(epoch)} {y(highest)}" for epoch, _, _, highest in line.points]
    lower = [f"{x(epoch)} {y(lowest)}" for epoch, _, lowest, _ in reversed(line.points)]
    several = any(lowest < highest for _, _, lowest, highest in line.points)
    dots = []
    for epoch, mean, lowest, highest in line.points:
        seeds = f" ({lowest:.4g} to {highest:.4g})" if lowest < highest else ""
        tip = f"{line.label}, epoch {epoch:g}: {mean:.4g}{seeds}"
        dots.append({"x": x(epoch), "y": y(mean), "tip": tip})
    return {
        "color": f"c{line.group % COLORS}",
        "dashed": line.group >= COLORS,
        "band": "L".join(upper + lower) if several else "",
        "path": "L".join(f"{x(epoch)} {y(mean)}" for epoch, mean, _, _ in line.points),
        "dots": dots,
    }


def value_limits(lines: Sequence[Line]) -> tuple[float, float]:
    """From the lowest to the highest value; from zero where that is not far."""
    points = [point for line in lines for point in line.points]
    low, high = min(p[2] for p in points), max(p[3] for p in points)
    return (0.0 if 0 <= low < 0.6 * high else low), high


def gap_chart(rows: Sequence[tuple[str, float, float]]) -> Markup:
    """For each (label, AP with NMS, AP NMS-free) a ring and a disc, joined by the gap between them."""
    width, left, step = 760, 30 + 8 * max(len(row[0]) for row in rows), 30
    top_ap = max(max(row[1:]) for row in rows)
    x = Range(0.0, 1.04 * top_ap if top_ap > 0 else 1.0, left, width - 24)
    return render(
        "gap_chart.svg",
        width=width,
        left=left,
        bottom=14 + step * len(rows),
        ticks=[{"at": x(tick), "text": _number(tick)} for tick in x.ticks(8)],
        rows=[
            {"label": label, "y": 24 + step * number, "color": f"c{number % COLORS}", "nms": x(nms),
             "free": x(free), "nms_ap": f"{nms:.1f}", "free_ap": f"{free:.1f}"}
            for number, (label, nms, free) in enumerate(rows)
        ],
    )  # fmt: skip


def interval_bar(mean: float, low: float, high: float, reach: float, clear: bool) -> Markup:
    """An interval around zero, on a scale of `reach` to both sides."""
    x = Range(-reach, reach, 4, 156)
    word = "clear" if clear else "unclear"
    return render("interval.svg", zero=x(0.0), low=x(low), high=x(high), mean=x(mean), word=word)


def _widened(low: float, high: float) -> tuple[float, float]:
    """A range of some width, with a small margin above."""
    if high - low < 1e-12:
        return low - 0.5, high + 0.5
    return low, high + 0.03 * (high - low)


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
