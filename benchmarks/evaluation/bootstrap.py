"""Times the paired bootstrap of tools.compare on drawn detections.

python -m benchmarks.evaluation.bootstrap
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.core.turns import machine, table, write
from command_line import option, run
from evaluation.bootstrap import difference, resampled
from evaluation.matching import match
from evaluation.truth import Floats, Truth

SIDE = 640.0


def class_shares(classes: int) -> np.ndarray:
    """A third of COCO's objects are persons; the others fall off slowly."""
    share = 1.0 / np.arange(1, classes + 1)
    share[0] = share[1:].sum() / 2
    return share / share.sum()


def draw_truth(rng: np.random.Generator, images: int, classes: int) -> dict[str, Any]:
    """Seven truths per image on average, of COCO's spread of sizes, every fiftieth a crowd."""
    count = rng.poisson(7.3, images)
    image = np.repeat(np.arange(images), count) + 1
    label = rng.choice(classes, len(image), p=class_shares(classes)) + 1
    size = np.exp(rng.uniform(np.log(10), np.log(400), (len(image), 2)))
    low = rng.uniform(0, 1, (len(image), 2)) * (SIDE - size)
    annotations = [
        {"id": row + 1, "image_id": i, "category_id": c, "bbox": [*xy, *wh], "area": 0.6 * wh[0] * wh[1],
         "iscrowd": int(row % 50 == 0)}
        for row, (i, c, xy, wh) in enumerate(
            zip(image.tolist(), label.tolist(), low.tolist(), size.tolist(), strict=True)
        )
    ]  # fmt: skip
    return {
        "images": [{"id": i + 1, "file_name": "", "height": SIDE, "width": SIDE} for i in range(images)],
        "categories": [{"id": c + 1, "name": str(c)} for c in range(classes)],
        "annotations": annotations,
    }


def draw_detections(rng: np.random.Generator, truth: dict[str, Any], limit: int, spread: float) -> Floats:
    """Rows as in evaluation.overlaps, `limit` in each image: four around each object, the rest anywhere.

    The closer a detection is to its object, the higher its score.
    """
    shares = class_shares(len(truth["categories"]))
    near: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in truth["images"]}
    for annotation in truth["annotations"]:
        near[annotation["image_id"]].append(annotation)
    found = []
    for image, truths in near.items():
        sources = (truths * 4)[:limit]
        rest = limit - len(sources)
        error = np.abs(rng.normal(0, spread, len(sources)))
        shift = rng.choice([-1.0, 1.0], (len(sources), 4)) * error[:, None]
        boxes = np.array([a["bbox"] for a in sources]).reshape(-1, 4)
        boxes = boxes + shift * boxes[:, [2, 3, 2, 3]]
        boxes[:, 2:] = np.maximum(boxes[:, 2:], 1)
        size = np.exp(rng.uniform(np.log(10), np.log(400), (rest, 2)))
        free = np.concatenate((rng.uniform(0, 1, (rest, 2)) * (SIDE - size), size), axis=1)
        score = np.concatenate((np.exp(-4 * error) * rng.uniform(0.3, 1, len(error)), 0.3 * rng.random(rest)))
        label = [a["category_id"] for a in sources] + (rng.choice(len(shares), rest, p=shares) + 1).tolist()
        places = np.full(limit, image)
        found.append(np.column_stack((places, np.concatenate((boxes, free)), score, label)))
    return np.concatenate(found)


@dataclass
class Options:
    """What the command line can set."""

    images: int = option(5000, least=1, help="images of the drawn set")
    classes: int = option(80, least=1, help="its classes")
    limit: int = option(100, least=1, help="detections per image")
    resamples: int = option(1000, least=1, help="draws of the images")
    out: str = option("benchmarks/results/evaluation", help="folder of bootstrap.json and bootstrap.md")


def main(words: Sequence[str] | None = None) -> None:
    """Times what the command line asks for."""
    run(Options, bench, __doc__, words)


def bench(options: Options) -> None:
    """Times the matching and the draws of two detectors, prints the table and writes it."""
    rng = np.random.default_rng(0)
    truth = draw_truth(rng, options.images, options.classes)
    index = Truth(truth)
    results, rows = [], []
    for spread in (0.12, 0.13):
        detections = draw_detections(rng, truth, options.limit, spread)
        start = time.perf_counter()
        matches = match(index, detections)
        middle = time.perf_counter()
        results.append(resampled(matches, options.resamples))
        seconds = {"matching_seconds": middle - start, "resampling_seconds": time.perf_counter() - middle}
        rows.append({"detections": len(detections), "AP": float(results[-1][0]), **seconds})
    found = difference(*results)
    lines = [
        [f"{row['detections']:,}", f"{row['AP']:.2f}"]
        + [f"{row[name]:.2f}" for name in ("matching_seconds", "resampling_seconds")]
        for row in rows
    ]
    header = ("detections", "AP", "matching, s", f"{options.resamples:,} resamples, s")
    about = (
        f"{options.images:,} images. Difference {found.mean:+.2f}, "
        f"95% interval {found.low:+.2f} to {found.high:+.2f}. {machine()}."
    )
    ratios = {
        "matching / a resample": options.resamples
        * sum(row["matching_seconds"] for row in rows)
        / sum(row["resampling_seconds"] for row in rows)
    }
    write({"rows": rows, "ratios": ratios}, f"{about}\n\n{table(header, lines)}", options.out, "bootstrap")


if __name__ == "__main__":
    main()
