"""COCO's average precision through pycocotools or a faster backend, and the duplicate rate.

Shape legend: N detections of the data set; a row is (image id, x, y, width, height, score, category id) in
pixels of the original image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools.coco import COCO

from engine.coco_backends import Rows, accumulate, index

STATS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
RECALLS = ("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large")
DUPLICATE_SCORE, DUPLICATE_IOU = 0.3, 0.5


def ground_truth(coco_json: dict[str, Any]) -> COCO:
    """pycocotools' index of a ground truth that is already in memory."""
    return index({"info": {}, **coco_json})


def coco_results(rows_N7: Rows) -> list[dict[str, Any]]:
    """The rows in COCO's results format."""
    return [
        {"image_id": int(row[0]), "category_id": int(row[6]), "bbox": row[1:5], "score": row[5]}
        for row in rows_N7.tolist()
    ]


def evaluate(truth: COCO, rows_N7: Rows, backend: str = "pycocotools") -> dict[str, Any]:
    """AP and AR on the 0-100 scale, AP of each class, and the duplicate rate.

    None stands where there is nothing to measure, such as AP of small objects in a set without any. The
    backend, one of `coco_backends.BACKENDS`, changes the time and not the numbers.
    """
    found = accumulate(truth, rows_N7, backend)
    result: dict[str, Any] = dict(zip(STATS + RECALLS, map(_percent, found.stats_12.tolist()), strict=True))
    precision_TRK = found.precision_TRKAM[:, :, :, 0, -1]  # over all areas, with the most detections
    names = {category["id"]: category["name"] for category in truth.dataset["categories"]}
    result["per_class"] = {
        names[category]: _percent(values[values > -1].mean() if (values > -1).any() else -1.0)
        for category, values in zip(found.categories, np.moveaxis(precision_TRK, 2, 0), strict=True)
    }
    result["duplicate_rate"] = duplicate_rate(truth, rows_N7)
    return result


def duplicate_rate(truth: COCO, rows_N7: Rows) -> float:
    """Second detections of an object that has one already, per truth.

    Detections of score >= 0.3 take truths of their class, best score first and at IoU >= 0.5, as COCO's
    matching does. One that finds only taken truths is a duplicate; one that finds none is not.
    """
    truths = [a for a in truth.dataset["annotations"] if not a.get("iscrowd", 0)]
    by_place: dict[tuple[int, int], list[list[float]]] = {}
    for annotation in truths:
        by_place.setdefault((annotation["image_id"], annotation["category_id"]), []).append(
            annotation["bbox"]
        )
    rows_N7 = rows_N7[rows_N7[:, 5] >= DUPLICATE_SCORE]
    rows_N7 = rows_N7[np.argsort(-rows_N7[:, 5], kind="stable")]
    places: dict[tuple[int, int], list[Any]] = {}
    for row in rows_N7:
        places.setdefault((int(row[0]), int(row[6])), []).append(row[1:5])
    duplicates = sum(
        _duplicates(np.array(boxes), np.array(by_place[place]))
        for place, boxes in places.items()
        if place in by_place
    )
    return duplicates / max(1, len(truths))


def _duplicates(found_D4: Rows, truth_T4: Rows) -> int:
    """How many of the detections, best first, match a truth but only taken ones."""
    low = np.maximum(found_D4[:, None, :2], truth_T4[None, :, :2])
    high = np.minimum(
        found_D4[:, None, :2] + found_D4[:, None, 2:], truth_T4[None, :, :2] + truth_T4[None, :, 2:]
    )
    inter_DT = np.prod(np.clip(high - low, 0, None), axis=2)
    area_D, area_T = np.prod(found_D4[:, 2:], axis=1), np.prod(truth_T4[:, 2:], axis=1)
    iou_DT = inter_DT / np.maximum(area_D[:, None] + area_T - inter_DT, 1e-9)
    taken_T = np.zeros(len(truth_T4), dtype=bool)
    count = 0
    for iou_T in iou_DT:
        free_T = np.where(taken_T, 0.0, iou_T)
        best = int(free_T.argmax())
        if free_T[best] >= DUPLICATE_IOU:
            taken_T[best] = True
        elif iou_T.max() >= DUPLICATE_IOU:
            count += 1
    return count


def _percent(value: float) -> float | None:
    return None if value < 0 else round(100.0 * float(value), 4)
