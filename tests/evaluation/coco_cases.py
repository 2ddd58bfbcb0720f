"""Ground truths and detections where COCO evaluations tend to differ.

Shape legend: D detections, rows as in evaluation.overlaps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

CATEGORIES = (9, 4, 70)  # neither sorted nor dense
Case = tuple[dict[str, Any], np.ndarray]


def truth_json(
    truths: list[dict[str, Any]], images: int = 3, categories: tuple[int, ...] = CATEGORIES
) -> dict[str, Any]:
    """`truths` are {bbox} with, where it matters, image, category, area and crowd."""
    return {
        "info": {},
        "images": [{"id": 10 + n, "file_name": f"{n}", "height": 400, "width": 400} for n in range(images)],
        "categories": [{"id": number, "name": f"class {number}"} for number in categories],
        "annotations": [
            {"id": n, "image_id": t.get("image", 10), "category_id": t.get("category", 4), "bbox": t["bbox"],
             "area": t.get("area", t["bbox"][2] * t["bbox"][3]), "iscrowd": int(t.get("crowd", False))}
            for n, t in enumerate(truths, start=1)
        ],
    }  # fmt: skip


def rows(*found: tuple[list[float], float], image: int = 10, category: int = 4) -> np.ndarray:
    """Detections (box, score) of one image and class."""
    return np.array([[image, *box, score, category] for box, score in found], dtype=float).reshape(-1, 7)


def scene(rng: np.random.Generator, images: int, truths: int, copies: int, score_steps: int = 0) -> Case:
    """Truths of all sizes, some of them crowds, and detections near, far, repeated and misnamed.

    With `score_steps` the scores are so coarse that most of them tie.
    """
    boxes, found = [], []
    for _ in range(truths):
        side = np.exp(rng.uniform(np.log(6), np.log(200), 2)).round(int(rng.integers(0, 3)))
        box = [*rng.uniform(0, 400 - side).round(int(rng.integers(0, 3))), *side]
        image, category = int(rng.integers(10, 10 + images)), int(rng.choice(CATEGORIES))
        area, crowd = float(side.prod() * rng.uniform(0.5, 1)), rng.random() < 0.1
        box = [float(value) for value in box]
        boxes.append({"bbox": box, "image": image, "category": category, "area": area, "crowd": crowd})
        for _ in range(int(rng.integers(0, copies + 1))):
            moved = np.array(box) + rng.normal(0, 0.12, 4) * np.tile(side, 2)
            moved[2:] = np.abs(moved[2:])
            named = category if rng.random() < 0.9 else int(rng.choice(CATEGORIES))
            score = rng.random() if not score_steps else rng.integers(1, score_steps + 1) / score_steps
            found.append([image, *moved, score, named])
    return truth_json(boxes, images), np.array(found, dtype=float).reshape(-1, 7)


def ordinary() -> Case:
    return scene(np.random.default_rng(0), images=8, truths=80, copies=4)


def ties_in_score() -> Case:
    return scene(np.random.default_rng(1), images=8, truths=80, copies=6, score_steps=3)


def a_thousand_detections_in_an_image() -> Case:
    content, _ = scene(np.random.default_rng(2), images=1, truths=60, copies=0)
    rng, found = np.random.default_rng(3), []
    for _ in range(1000):
        truth = content["annotations"][rng.integers(60)]
        moved = np.array(truth["bbox"]) * rng.uniform(0.9, 1.1, 4)
        found.append([10, *moved, rng.random(), truth["category_id"]])
    assert max(np.bincount(np.array(found)[:, 6].astype(int))) > 300
    return content, np.array(found)


def borders_of_area() -> Case:
    """Truths and detections of exactly 32^2 and 96^2 pixels, and a hair beside them."""
    areas = [side**2 + offset for side in (32, 96) for offset in (-1e-9, 0, 1e-9, 1)]
    truths = [
        {"bbox": [0, 0, area / 32, 32], "image": 10 + n, "area": area} for n, area in enumerate(areas)
    ] + [{"bbox": [200, 200, 64, 64], "image": 10 + n, "area": area} for n, area in enumerate(areas)]
    found = [
        rows(([0, 0, area / 32, 32], 0.9), ([300, 0, 32, 32], 0.6), ([300, 200, 96, 96], 0.5), image=10 + n)
        for n, area in enumerate(areas)
    ]
    return truth_json(truths, images=len(areas)), np.concatenate(found)


def iou_at_the_thresholds() -> Case:
    """Detections whose IoU is 0.5, 0.55, ..., 0.95 up to rounding."""
    truths, found = [], []
    for n in range(10):
        for side in (20.0, 60.0, 3.3, 0.7):
            box = [10 * side, 7.1, side, side]
            truths.append({"bbox": box, "image": 10 + n})
            found.append([10 + n, *box[:3], side * (0.5 + 0.05 * n), 0.01 * side, 4])
    return truth_json(truths, images=10), np.array(found)


def crowds() -> Case:
    """A crowd takes any number of detections, by how much of each lies in it, and none counts."""
    truths = [
        {"bbox": [0, 0, 200, 200], "crowd": True},
        {"bbox": [20, 20, 40, 40]},
        {"bbox": [300, 300, 50, 50]},
        {"bbox": [0, 0, 300, 300], "crowd": True, "category": 9},
        {"bbox": [0, 0, 300, 300], "crowd": True, "image": 11},
    ]
    boxes = [[20, 20, 40, 40], [22, 20, 40, 40], [150, 150, 100, 100], [150, 150, 40, 40], [300, 300, 50, 44]]
    found = [(box, 0.9 - 0.1 * n) for n, box in enumerate(boxes)]
    parts = [rows(*found), rows(*found, category=9), rows(*found, image=11), rows(*found, image=12)]
    return truth_json(truths), np.concatenate(parts)


def no_detections() -> Case:
    return ordinary()[0], np.zeros((0, 7))


def no_truths() -> Case:
    return truth_json([]), ordinary()[1][:40] * [0, 1, 1, 1, 1, 1, 1] + [10, 0, 0, 0, 0, 0, 0]


def neither() -> Case:
    return truth_json([]), np.zeros((0, 7))


def no_categories() -> Case:
    return truth_json([], categories=()), np.zeros((0, 7))


def categories_apart() -> Case:
    """One category with truths alone, one with detections alone, one with neither; an image with nothing."""
    return truth_json([{"bbox": [0, 0, 40, 40]}]), rows(([0, 0, 40, 40], 0.5), category=9)


def boxes_without_area() -> Case:
    content = truth_json([{"bbox": [10, 10, 40, 40]}, {"bbox": [100, 100, 20, 20], "image": 11}])
    found = [rows(([10, 10, 0, 0], 0.9), ([10, 10, 40, 0], 0.8), ([10, 10, 40, 40], 0.7))]
    return content, np.concatenate([*found, rows(([100, 100, 0, 20], 0.6), image=11)])


def scores_at_the_ends() -> Case:
    content, found = ordinary()
    found[::3, 5], found[1::3, 5] = 0.0, 1.0
    return content, found


def one_place_twice() -> Case:
    """Two truths of one box: the order of the truths decides which of them a detection takes."""
    box = [50.0, 50, 60, 60]
    truths = [{"bbox": box, "area": 900}, {"bbox": box, "area": 5000}, {"bbox": box, "area": 10000}]
    return truth_json(truths), rows((box, 0.9), (box, 0.9), ([50, 50, 60, 55], 0.9), (box, 0.5))


CASES: list[Callable[[], Case]] = [
    ordinary, ties_in_score, a_thousand_detections_in_an_image, borders_of_area, iou_at_the_thresholds,
    crowds, no_detections, no_truths, neither, no_categories, categories_apart, boxes_without_area,
    scores_at_the_ends, one_place_twice,
]  # fmt: skip
