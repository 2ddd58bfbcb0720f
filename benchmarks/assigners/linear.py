"""Does time grow linearly with the candidate pairs? Exponents and a picture.

python -m benchmarks.assigners.linear picture=docs/assignment_time.png
python -m benchmarks.assigners.linear boxes=[16,128] repeats=3
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.assigners.cases import STRIDES, Case, pairs_inside
from benchmarks.assigners.measure import implementations
from benchmarks.assigners.speed import ASSIGNERS, TITLES
from benchmarks.core.turns import machine, medians, table, write
from command_line import option, run
from errors import UsageError

IMAGES = 16
# Below some tens of thousands of pairs the fixed cost of some dozens of small operations shows.
FROM_PAIRS = 50_000


@dataclass
class Options:
    """What the command line can set."""

    boxes: list[int] = option([2**n for n in range(10)], help="of an image, several numbers")
    repeats: int = option(7, least=1, help="turns")
    device: str = option("cpu", help="cpu or cuda")
    picture: str | None = option(None, help="file of the picture; default: none")
    out: str = option("benchmarks/results/assigners", help="folder of linear.json and linear.md")


def exponent(points: list[tuple[int, float]]) -> float:
    """The slope of log(time) over log(pairs), by least squares."""
    x = [math.log(pairs) for pairs, _ in points]
    y = [math.log(taken) for _, taken in points]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - mean_x) ** 2 for a in x)


def bench(options: Options) -> None:
    """Measures, prints the table and writes it, and draws the picture."""
    points: dict[str, list[tuple[int, float]]] = {assigner: [] for assigner in ASSIGNERS}
    for count in options.boxes:
        inputs = Case("", 640, 640, STRIDES, (count,) * IMAGES).draw(device=options.device)
        pairs = pairs_inside(inputs)
        ways = {name: partial(implementations(name)[0].prepare(*inputs)) for name in points}
        for assigner, taken in medians(ways, options.repeats, options.device).items():
            points[assigner].append((pairs, 1000 * taken))
    slopes = {}
    for assigner, own in points.items():
        many = [point for point in own if point[0] >= FROM_PAIRS]
        if len(many) < 2:
            raise UsageError(
                f"boxes={options.boxes} make {FROM_PAIRS:,} pairs fewer than twice: give larger ones"
            )
        slopes[assigner] = exponent(many)
    lines = [
        [f"{pairs:,}", *(f"{points[assigner][row][1]:.1f}" for assigner in points)]
        for row, (pairs, _) in enumerate(points["atss"])
    ]
    lines.append(["exponent", *(f"{slope:.2f}" for slope in slopes.values())])
    header = ("pairs of a truth and a point inside it", *(f"{TITLES[name]}, ms" for name in points))
    about = (
        f"{IMAGES} images of 640x640 px; exponents from {FROM_PAIRS:,} pairs on. "
        f"Median of {options.repeats} turns, {machine(options.device)}."
    )
    ratios = {f"growth of pairs / of time, {name}": _growth(own) for name, own in points.items()}
    report = {"milliseconds_over_pairs": points, "exponents": slopes, "ratios": ratios}
    write(report, f"{about}\n\n{table(header, lines)}", options.out, "linear")
    if options.picture is not None:
        _draw(points, slopes, options.picture)


def _growth(points: list[tuple[int, float]]) -> float:
    """How much more the pairs grow than the time, from the first point to the last."""
    (first_pairs, first), (last_pairs, last) = points[0], points[-1]
    return last_pairs / first_pairs / (last / first)


def _draw(points: dict[str, list[tuple[int, float]]], slopes: dict[str, float], file: str) -> None:
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for assigner, own in points.items():
        label = f"{TITLES[assigner]} (exponent {slopes[assigner]:.2f})"
        axes.loglog(*zip(*own, strict=True), marker="o", label=label)
    axes.set(xlabel="pairs of a truth and a point inside it", ylabel="ms per batch of 16 images, 640x640")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=120)


def main(words: Sequence[str] | None = None) -> None:
    """Times what the command line asks for."""
    run(Options, bench, __doc__, words)


if __name__ == "__main__":
    main()
