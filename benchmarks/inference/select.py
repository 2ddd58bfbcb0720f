"""How long the selection of detections takes, NMS-free and with NMS.

    python -m benchmarks.inference.select
    python -m benchmarks.inference.select images=[1] candidates=[10,100] classes=3 repeats=3

Predictions of a 640x640 input, in which a given number of (point, class) pairs of an image pass the score
threshold. "window" is the NMS-free selection with `eval.peak_window=3`, "both" what an evaluation does: the
candidates once, then either selection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from assigners import PointGrid
from benchmarks.core.turns import machine, medians, table, write
from command_line import option, run
from detector.decode import Decoded
from detector.select import Detections, best_candidates, nms, suppress, topk

SIZE, CLASSES, STRIDES = 640, 80, (8, 16, 32, 64, 128)
LIMIT, IOU = 100, 0.6
WAYS = {"nms_free": "NMS-free", "window": "NMS-free, window", "nms": "NMS", "both": "both"}
HEADER = ("images", "candidates", *(f"{way}, ms" for way in WAYS.values()), "NMS / NMS-free", "NMS / window")


@dataclass
class Options:
    """What the command line can set."""

    images: list[int] = option([1, 8, 32], help="sizes of a batch")
    candidates: list[int] = option([10, 100, 1000, 10_000], help="of an image")
    classes: int = option(CLASSES, least=1, help="of the detector")
    repeats: int = option(9, least=1, help="turns")
    device: str = option("cpu", help="cpu or cuda")
    out: str = option("benchmarks/results/inference", help="folder of select.json and select.md")


def draw(
    images: int, candidates: int, classes: int = CLASSES, device: str = "cpu"
) -> tuple[PointGrid, Decoded]:
    """Predictions in which so many pairs of each image score above 0.05, a third of them in clusters."""
    grid = PointGrid.for_image(SIZE, SIZE, STRIDES)
    generator = torch.Generator().manual_seed(0)
    points = len(grid)
    scores = 0.04 * torch.rand(images, points, classes, generator=generator)
    flat = scores.view(images, -1)
    for image in range(images):
        places = torch.randperm(points * classes, generator=generator)[:candidates]
        # A third on runs of neighbouring points of class 0, whose boxes NMS drops.
        third = places[: candidates // 3] // classes
        places[: candidates // 3] = classes * (third // 8 * 8 + torch.arange(len(third)) % 8).clamp(
            max=points - 1
        )
        flat[image, places] = 0.05 + 0.9 * torch.rand(len(places), generator=generator)
    half = grid.stride_P[:, None] * (1 + 3 * torch.rand(images, points, 2, generator=generator))
    boxes = torch.cat((grid.centers_P2 - half, grid.centers_P2 + half), dim=-1)
    on_device = PointGrid.for_image(SIZE, SIZE, STRIDES, device)
    return on_device, Decoded(scores.to(device), boxes.to(device))


def both(predictions: Decoded, grid: PointGrid) -> tuple[list[Detections], list[Detections]]:
    """The two selections of an evaluation, from the same candidates."""
    found = best_candidates(predictions, grid)
    return [one[:LIMIT] for one in found], [suppress(one, IOU)[:LIMIT] for one in found]


def bench(options: Options) -> None:
    """Measures every case, prints the table and writes it."""
    rows: list[dict[str, Any]] = []
    for images in options.images:
        for candidates in options.candidates:
            grid, predictions = draw(images, candidates, options.classes, options.device)
            windowed = replace(predictions, peak_window=3)
            ways: dict[str, Callable[[], object]] = {
                "nms_free": partial(topk, predictions, grid, limit=LIMIT),
                "window": partial(topk, windowed, grid, limit=LIMIT),
                "nms": partial(nms, predictions, grid, limit=LIMIT, iou=IOU),
                "both": partial(both, predictions, grid),
            }
            times = medians(ways, options.repeats, options.device)
            ratios = {name: times["nms"] / times[name] for name in ("nms_free", "window")}
            rows.append({"images": images, "candidates": candidates, **times, "ratios": ratios})
    lines = [
        [f"{row['images']}", f"{row['candidates']:,}"]
        + [f"{1000 * row[name]:.2f}" for name in WAYS]
        + [f"{ratio:.2f}" for ratio in row["ratios"].values()]
        for row in rows
    ]
    about = (
        f"Selection from the predictions of {SIZE}x{SIZE} px and {options.classes} classes: at most 1,000 "
        f"candidates of a level, {LIMIT} detections, IoU {IOU}. Median of {options.repeats} turns, "
        f"{machine(options.device)}."
    )
    stored = {
        f"NMS / {WAYS[way]}, {row['images']} x {row['candidates']}": ratio
        for row in rows
        for way, ratio in row["ratios"].items()
    }
    write({"rows": rows, "ratios": stored}, f"{about}\n\n{table(HEADER, lines)}", options.out, "select")


def main(words: Sequence[str] | None = None) -> None:
    """Times what the command line asks for."""
    run(Options, bench, __doc__, words)


if __name__ == "__main__":
    main()
