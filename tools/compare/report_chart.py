"""Charts of the report as SVG that needs nothing else: colours come from the style sheet of the page.

Classes c0, c1, ... stand for the groups; the page gives each its colour, for light and for dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import isclose

from matplotlib.ticker import MaxNLocator

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


def line_chart(lines: Sequence[Line], limits: tuple[float, float] | None = None) -> str:
    """A number over epochs; `limits` of the values, so that two charts can be compared."""
    points = [point for line in lines for point in line.points]
    low, high = limits or value_limits(lines)
    x = Range(*_widened(min(p[0] for p in points), max(p[0] for p in points)), LEFT, WIDTH - RIGHT)
    y = Range(*_widened(low, high), HEIGHT - BOTTOM, TOP)
    parts = []
    for tick in y.ticks(6):
        parts.append(f'<path class="grid" d="M{LEFT} {y(tick)}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{y(tick) + 4}" text-anchor="end">{_number(tick)}</text>')
    for tick in x.ticks(8):
        if isclose(tick, round(tick)):
            parts.append(f'<text x="{x(tick)}" y="{HEIGHT - 18}" text-anchor="middle">{round(tick)}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 3}" text-anchor="middle">epoch</text>')
    for line in lines:
        color = f"c{line.group % COLORS}"
        if any(lowest < highest for _, _, lowest, highest in line.points):
            edge = [f"{x(p[0])} {y(p[3])}" for p in line.points]
            edge += [f"{x(p[0])} {y(p[2])}" for p in reversed(line.points)]
            parts.append(f'<path class="band {color}" d="M{"L".join(edge)}Z"/>')
        path = "L".join(f"{x(p[0])} {y(p[1])}" for p in line.points)
        dashed = " dashed" if line.group >= COLORS else ""
        parts.append(f'<path class="line {color}{dashed}" d="M{path}"/>')
        for epoch, mean, lowest, highest in line.points:
            seeds = f" ({lowest:.4g} to {highest:.4g})" if lowest < highest else ""
            tip = f"{line.label}, epoch {epoch:g}: {mean:.4g}{seeds}"
            dot = f'<circle class="dot {color}" cx="{x(epoch)}" cy="{y(mean)}" r="2.6">'
            parts.append(f"{dot}<title>{escape(tip)}</title></circle>")
    return _svg(WIDTH, HEIGHT, parts)


def value_limits(lines: Sequence[Line]) -> tuple[float, float]:
    """From the lowest to the highest value; from zero where that is not far."""
    points = [point for line in lines for point in line.points]
    low, high = min(p[2] for p in points), max(p[3] for p in points)
    return (0.0 if 0 <= low < 0.6 * high else low), high


def gap_chart(rows: Sequence[tuple[str, float, float]]) -> str:
    """For each group AP with NMS (ring) and NMS-free (disc), joined by the gap between them."""
    width, left, step = 760, 30 + 8 * max(len(row[0]) for row in rows), 30
    bottom = 14 + step * len(rows)
    top_ap = max(max(row[1:]) for row in rows)
    x = Range(0.0, 1.04 * top_ap if top_ap > 0 else 1.0, left, width - 24)
    parts = []
    for tick in x.ticks(8):
        parts.append(f'<path class="grid" d="M{x(tick)} 6V{bottom}"/>')
        parts.append(f'<text x="{x(tick)}" y="{bottom + 16}" text-anchor="middle">{_number(tick)}</text>')
    for number, (label, nms, free) in enumerate(rows):
        y, color = 24 + step * number, f"c{number % COLORS}"
        parts.append(
            f'<text class="name" x="{left - 12}" y="{y + 4}" text-anchor="end">{escape(label)}</text>'
        )
        parts.append(f'<path class="gap {color}" d="M{x(free)} {y}H{x(nms)}"/>')
        for kind, value, word in (("ring", nms, "NMS"), ("disc", free, "NMS-free")):
            tip = f"<title>{escape(label)}, {word}: AP {value:.1f}</title>"
            parts.append(f'<circle class="{kind} {color}" cx="{x(value)}" cy="{y}" r="6">{tip}</circle>')
    return _svg(width, bottom + 22, parts)


def interval_bar(mean: float, low: float, high: float, reach: float, clear: bool) -> str:
    """An interval around zero, on a scale of `reach` to both sides."""
    x = Range(-reach, reach, 4, 156)
    word = "clear" if clear else "unclear"
    return _svg(
        160,
        18,
        [
            f'<path class="zero" d="M{x(0.0)} 1V17"/>',
            f'<path class="span {word}" d="M{x(low)} 9H{x(high)}"/>',
            f'<circle class="mid {word}" cx="{x(mean)}" cy="9" r="4"/>',
        ],
    )


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'


def _widened(low: float, high: float) -> tuple[float, float]:
    """A range of some width, with a little air above."""
    if high - low < 1e-12:
        return low - 0.5, high + 0.5
    return low, high + 0.03 * (high - low)


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
