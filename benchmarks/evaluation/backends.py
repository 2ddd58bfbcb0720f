"""How long an evaluation takes, from detections to AP with and without NMS, duplicates and files.

    python -m benchmarks.evaluation.backends                        # 5,000 images, 350,000 detections
    python -m benchmarks.evaluation.backends images=50 detections=20

Every installed backend gets the same drawn detections, turn by turn; the median counts. The first row is what
the evaluation costs without its speed-ups: pycocotools, an index per call, duplicates image by image in NumPy
and Python's json. Processor time, that of all threads, changes little on a busy machine.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from pycocotools import mask
from rich.console import Console

from command_line import new_folder, option, run
from engine.evaluator import Evaluation, summarize
from evaluation.coco_backends import BACKENDS, accumulate
from evaluation.outcomes import outcomes
from evaluation.results import PREDICTIONS
from evaluation.truth import Floats, Truth

CLASSES = 80
PACKAGES = {"pycocotools": "pycocotools", "hotcoco": "hotcoco", "faster": "faster-coco-eval"}
HEADER = ("evaluation by", "seconds", "processor seconds", "times as fast", "by processor time")
PLAIN = "pycocotools, plain"


@dataclass
class Options:
    """What the command line can set."""

    images: int = option(5000, least=1, help="images of the drawn set")
    truths: int = option(36000, least=1, help="its objects")
    detections: int = option(70, least=1, help="per image, NMS-free")
    repeats: int = option(3, least=1, help="turns of each backend")
    plain: bool = option(True, help="time the first row, too, which takes minutes")
    out: str = option("benchmarks/results/evaluation", help="folder of backends.json and backends.md")


def draw(images: int, truths: int, detections: int = 70, seed: int = 0) -> tuple[dict[str, Any], Floats]:
    """A COCO-format truth and detections: two in three near an object, mostly of its class."""
    rng = np.random.default_rng(seed)
    # A few classes are common and most are rare, and so are small boxes, as in COCO.
    share_C = 1 / np.arange(1, CLASSES + 1)
    category_A = rng.choice(CLASSES, truths, p=share_C / share_C.sum()) + 1
    side_A2 = np.exp(rng.normal(np.log(60), 0.9, (truths, 2))).clip(4, 400)
    box_A4 = np.concatenate((rng.uniform(0, 1, (truths, 2)) * (640 - side_A2), side_A2), axis=1)
    image_A = rng.integers(0, images, truths)
    content = {
        "images": [{"id": n, "file_name": f"{n}", "height": 640, "width": 640} for n in range(images)],
        "categories": [{"id": n + 1, "name": f"class {n}"} for n in range(CLASSES)],
        "annotations": [
            {"id": n + 1, "image_id": int(image_A[n]), "category_id": int(category_A[n]),
             "bbox": box_A4[n].tolist(), "area": 0.6 * float(side_A2[n].prod()), "iscrowd": int(n % 80 == 0)}
            for n in range(truths)
        ],
    }  # fmt: skip
    image_D = np.repeat(np.arange(images), detections)
    by_image = [np.flatnonzero(image_A == image) for image in range(images)]
    near_D = np.concatenate([rng.choice(own, detections) if len(own) else rng.integers(0, truths, detections)
                             for own in by_image])  # fmt: skip
    moved_D4 = box_A4[near_D] + rng.normal(0, 0.15, (len(image_D), 4)) * np.tile(side_A2[near_D], 2)
    moved_D4[:, 2:] = np.abs(moved_D4[:, 2:])
    astray_D = rng.random(len(image_D)) < 1 / 3
    moved_D4[astray_D, :2] = rng.uniform(0, 500, (astray_D.sum(), 2))
    named_D = np.where(rng.random(len(image_D)) < 0.8, category_A[near_D], rng.integers(1, CLASSES + 1))
    score_D = rng.beta(1, 4, len(image_D))
    return content, np.column_stack((image_D, moved_D4, score_D, named_D)).astype(np.float64)


def whole(content: dict[str, Any], rows: dict[str, Floats], backend: str, folder: Path) -> dict[str, Any]:
    """What Evaluator does once the detections are on the host."""
    summary = summarize(Truth(content), rows, backend)
    Evaluation(summary, rows).write(folder)
    return summary


def plain(content: dict[str, Any], rows: dict[str, Floats], folder: Path) -> dict[str, Any]:
    """AP and duplicates by pycocotools and loops over images, files by json; fewer numbers than `whole`."""
    summary: dict[str, Any] = {}
    for selection, rows_D7 in rows.items():
        truth = Truth(content)
        stats_12 = accumulate(truth, rows_D7, "pycocotools").stats_12
        summary[selection] = {"AP": 100 * stats_12[0], "duplicates": _duplicates(truth, rows_D7)}
        results = [
            {"image_id": int(row[0]), "category_id": int(row[6]), "bbox": row[1:5], "score": row[5]}
            for row in rows_D7.tolist()
        ]
        (folder / PREDICTIONS[selection]).write_text(json.dumps(results))
    return summary


def _duplicates(truth: Truth, rows_D7: Floats) -> int:
    """Duplicates of score 0.3 and above, one image and class after another."""
    places: dict[tuple[int, int], list[int]] = {}
    for row in np.argsort(-rows_D7[:, 5], kind="stable").tolist():
        if rows_D7[row, 5] >= 0.3:
            places.setdefault((int(rows_D7[row, 0]), int(rows_D7[row, 6])), []).append(row)
    objects: dict[tuple[int, int], list[list[float]]] = {}
    for annotation in truth.dataset["annotations"]:
        if not annotation["iscrowd"]:
            place = annotation["image_id"], annotation["category_id"]
            objects.setdefault(place, []).append(annotation["bbox"])
    count = 0
    for place in places.keys() & objects.keys():
        boxes_N4 = np.array(objects[place])
        taken_N = np.zeros(len(boxes_N4), dtype=bool)
        for iou_N in mask.iou(rows_D7[places[place], 1:5], boxes_N4, [0] * len(boxes_N4)):
            free_N = np.where(taken_N, 0.0, iou_N)
            if free_N.max() >= 0.5:
                taken_N[free_N.argmax()] = True
            elif iou_N.max() >= 0.5:
                count += 1
    return count


def measure(options: Options) -> dict[str, Any]:
    """The report: one row per backend, and the largest difference of an AP from that of pycocotools."""
    content, free_D7 = draw(options.images, options.truths, options.detections)
    # With NMS a third is left; which ones does not matter for the time.
    rows = {"nms": free_D7[::3], "nms_free": free_D7}
    names = [name for name, module in BACKENDS.items() if find_spec(module) is not None]
    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, Callable[[], dict[str, Any]]] = {}
        if options.plain:
            ways[PLAIN] = partial(plain, content, rows, Path(folder))
        for name in names:
            ways[f"{name} {version(PACKAGES[name])}"] = partial(whole, content, rows, name, Path(folder))
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        found: dict[str, dict[str, Any]] = {}
        for _ in range(options.repeats):
            for name, way in ways.items():
                start = time.perf_counter(), time.process_time()
                found[name] = way()
                times[name].append((time.perf_counter() - start[0], time.process_time() - start[1]))
    reference = next(iter(found.values()))
    own = [(name, sum(processor for _, processor in times[name])) for name in ways]
    return {
        "ratios": {f"{own[0][0]} / {name}": own[0][1] / seconds for name, seconds in own[1:]},
        "images": options.images,
        "truths": options.truths,
        "detections": len(free_D7),
        "repeats": options.repeats,
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "difference": max(
            abs(summary[s]["AP"] - reference[s]["AP"]) for summary in found.values() for s in rows
        ),
        "outcomes_seconds": _seconds(lambda: outcomes(Truth(content), free_D7)),
        "rows": [
            {"name": name, "seconds": median(wall for wall, _ in own),
             "processor_seconds": median(processor for _, processor in own)}
            for name, own in times.items()
        ],
    }  # fmt: skip


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def tabulate(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The lines under HEADER; how many times as fast is against the first row."""
    clocks = ("seconds", "processor_seconds")
    return [
        [row["name"], *(f"{row[clock]:.2f}" for clock in clocks)]
        + [f"{rows[0][clock] / row[clock]:.1f}" for clock in clocks]
        for row in rows
    ]


def markdown(report: dict[str, Any]) -> str:
    """The table of a report."""
    lines = [HEADER, ("---",) * len(HEADER), *tabulate(report["rows"])]
    return (
        f"Evaluation of {report['images']:,} images with {report['truths']:,} truths and "
        f"{report['detections']:,} detections of {CLASSES} classes, from detections to AP with and without "
        f"NMS, duplicates and files; median of {report['repeats']} turns. {report['machine']}. Largest "
        f"difference in AP: {report['difference']:.0e}.\n\n"
        + "\n".join("| " + " | ".join(line) + " |" for line in lines)
        + f"\n\nThe outcomes of all detections take {report['outcomes_seconds']:.2f} s of it.\n"
    )


def bench(options: Options) -> None:
    """Measures, prints the table and writes it."""
    report = measure(options)
    file = new_folder(options.out) / "backends.json"
    file.write_text(json.dumps(report, indent=1) + "\n")
    file.with_suffix(".md").write_text(markdown(report))
    console = Console()
    console.print(markdown(report), markup=False, highlight=False)
    console.print(f"written: {file} and {file.with_suffix('.md')}")


def main(words: Sequence[str] | None = None) -> None:
    """Times what the command line asks for."""
    run(Options, bench, __doc__, words)


if __name__ == "__main__":
    main()
