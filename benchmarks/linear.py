"""Does time grow linearly with the candidate pairs? Prints the exponents and draws the picture.

python -m benchmarks.linear                          # writes docs/assignment_time.png
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.assigners import ASSIGNERS, TITLES
from benchmarks.cases import STRIDES, Case, pairs_inside
from benchmarks.measure import implementations, seconds

COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
REPEATS = 7


def exponent(points: list[tuple[int, float]]) -> float:
    """The slope of log(time) over log(pairs), by least squares."""
    x = [math.log(pairs) for pairs, _ in points]
    y = [math.log(taken) for _, taken in points]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - mean_x) ** 2 for a in x)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time over candidate pairs, 16 images of 640x640.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("docs/assignment_time.png"))
    words = parser.parse_args()
    lines: dict[str, list[tuple[int, float]]] = {assigner: [] for assigner in ASSIGNERS}
    for count in COUNTS:
        inputs = Case("", 640, 640, STRIDES, (count,) * 16).draw(device=words.device)
        pairs = pairs_inside(inputs)
        for assigner, points in lines.items():
            call = implementations(assigner)[0].prepare(*inputs)
            seconds(call, words.device)
            taken = median(seconds(call, words.device) for _ in range(REPEATS))
            points.append((pairs, 1000 * taken))
            print(
                f"{count:5d} boxes per image, {pairs:9d} pairs, {assigner:7s}{1000 * taken:9.1f} ms",
                flush=True,
            )
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for assigner, points in lines.items():
        # Below some tens of thousands of pairs the fixed cost of some dozens of small operations shows.
        slope = exponent([p for p in points if p[0] >= 50_000])
        print(f"{assigner}: time ~ pairs^{slope:.2f} from 50,000 pairs on")
        axes.loglog(
            *zip(*points, strict=True), marker="o", label=f"{TITLES[assigner]} (exponent {slope:.2f})"
        )
    axes.set(xlabel="pairs of a truth and a point inside it", ylabel="ms per batch of 16 images, 640x640")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(words.out, dpi=120)
    print(f"written: {words.out}")


if __name__ == "__main__":
    main()
