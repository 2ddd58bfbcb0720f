"""How long COCO's evaluation of a set like COCO val takes, by backend.

    python -m benchmarks.evaluation       # some minutes; writes to benchmarks/results/

5,000 images, 80 classes, 36,000 truths of which 1 in 80 is a crowd, 100 detections per image. Every backend
that is installed gets the same detections, turn by turn, from arrays to COCO's numbers; the median counts.
Beside the wall time stands the processor time, which a busy machine changes little: that of all threads.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from evaluation.coco_backends import BACKENDS, Accumulated, Rows, accumulate
from evaluation.coco_metrics import duplicate_rate, ground_truth

CLASSES, DETECTIONS = 80, 100
PACKAGES = {"pycocotools": "pycocotools", "hotcoco": "hotcoco", "faster": "faster-coco-eval"}
HEADER = ("backend", "package", "seconds", "processor seconds", "times as fast", "by processor time")


def draw(images: int, truths: int, seed: int = 0) -> tuple[dict[str, Any], Rows]:
    """A COCO-format truth and detections (N, 7): two in three near a truth, mostly of its class."""
    rng = np.random.default_rng(seed)
    # A few classes are common and most are rare, and so are small boxes, as in COCO.
    share = 1 / np.arange(1, CLASSES + 1)
    category_N = rng.choice(CLASSES, truths, p=share / share.sum()) + 1
    side_N2 = np.exp(rng.normal(np.log(60), 0.9, (truths, 2))).clip(4, 400)
    box_N4 = np.concatenate((rng.uniform(0, 1, (truths, 2)) * (640 - side_N2), side_N2), axis=1)
    image_N = rng.integers(0, images, truths)
    content = {
        "images": [{"id": n, "file_name": f"{n}", "height": 640, "width": 640} for n in range(images)],
        "categories": [{"id": n + 1, "name": f"class {n}"} for n in range(CLASSES)],
        "annotations": [
            {"id": n + 1, "image_id": int(image_N[n]), "category_id": int(category_N[n]),
             "bbox": box_N4[n].tolist(), "area": 0.6 * float(side_N2[n].prod()), "iscrowd": int(n % 80 == 0)}
            for n in range(truths)
        ],
    }  # fmt: skip
    image_D = np.repeat(np.arange(images), DETECTIONS)
    by_image = [np.flatnonzero(image_N == image) for image in range(images)]
    near_D = np.concatenate([rng.choice(own, DETECTIONS) if len(own) else rng.integers(0, truths, DETECTIONS)
                             for own in by_image])  # fmt: skip
    moved_D4 = box_N4[near_D] + rng.normal(0, 0.15, (len(image_D), 4)) * np.tile(side_N2[near_D], 2)
    moved_D4[:, 2:] = np.abs(moved_D4[:, 2:])
    astray_D = rng.random(len(image_D)) < 1 / 3
    moved_D4[astray_D, :2] = rng.uniform(0, 500, (astray_D.sum(), 2))
    named_D = np.where(rng.random(len(image_D)) < 0.8, category_N[near_D], rng.integers(1, CLASSES + 1))
    score_D = rng.beta(1, 4, len(image_D))
    return content, np.column_stack((image_D, moved_D4, score_D, named_D)).astype(np.float64)


def measure(content: dict[str, Any], rows_N7: Rows, repeats: int) -> list[dict[str, Any]]:
    """One row per installed backend; `difference` is the largest of any number from that of pycocotools."""
    truth = ground_truth(content)
    names = [name for name, module in BACKENDS.items() if find_spec(module) is not None]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    found: dict[str, Accumulated] = {}
    for _ in range(repeats):
        for name in names:
            start = time.perf_counter(), time.process_time()
            found[name] = accumulate(truth, rows_N7, name)
            times[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    fields = ("stats_12", "precision_TRKAM", "recall_TKAM")
    return [
        {
            "name": name,
            "package": f"{PACKAGES[name]} {version(PACKAGES[name])}",
            "seconds": median(wall for wall, _ in times[name]),
            "processor_seconds": median(processor for _, processor in times[name]),
            "difference": max(
                float(np.abs(getattr(found[name], field) - getattr(found["pycocotools"], field)).max())
                for field in fields
            ),
        }
        for name in names
    ]


def tabulate(rows: list[dict[str, Any]]) -> list[list[str]]:
    """The lines under HEADER."""
    reference = next(row for row in rows if row["name"] == "pycocotools")
    clocks = ("seconds", "processor_seconds")
    return [
        [row["name"], row["package"]]
        + [f"{row[clock]:.2f}" for clock in clocks]
        + [f"{reference[clock] / row[clock]:.1f}" for clock in clocks]
        for row in rows
    ]


def markdown(report: dict[str, Any]) -> str:
    """The table of a report."""
    lines = [HEADER, ("---",) * len(HEADER), *tabulate(report["rows"])]
    worst = max(row["difference"] for row in report["rows"])
    return (
        f"COCO's evaluation of {report['images']:,} images with {report['truths']:,} truths and "
        f"{report['detections']:,} detections of {CLASSES} classes; median of {report['repeats']} turns. "
        f"{report['machine']}. Largest difference in any number: {worst:.0e}.\n\n"
        + "\n".join("| " + " | ".join(line) + " |" for line in lines)
        + f"\n\nThe duplicate rate, which is our own, takes {report['duplicate_seconds']:.2f} s with each.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the evaluation backends.")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--truths", type=int, default=36000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    words = parser.parse_args()
    words.out.mkdir(parents=True, exist_ok=True)
    content, rows_N7 = draw(words.images, words.truths)
    report: dict[str, Any] = vars(words) | {"detections": len(rows_N7)}
    del report["out"]
    report["machine"] = f"{os.cpu_count()} CPU cores, {platform.machine()}"
    report["rows"] = measure(content, rows_N7, words.repeats)
    start = time.perf_counter()
    duplicate_rate(ground_truth(content), rows_N7)
    report["duplicate_seconds"] = time.perf_counter() - start
    file = words.out / "evaluation.json"
    file.write_text(json.dumps(report, indent=1) + "\n")
    file.with_suffix(".md").write_text(markdown(report))
    table = Table(*HEADER)
    for line in tabulate(report["rows"]):
        table.add_row(*line)
    console = Console()
    console.print(table)
    console.print(f"duplicate rate: {report['duplicate_seconds']:.2f} s")
    console.print(f"written: {file} and {file.with_suffix('.md')}")


if __name__ == "__main__":
    main()
