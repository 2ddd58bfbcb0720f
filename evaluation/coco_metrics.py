"""COCO's average precision through pycocotools or a faster backend, and the duplicate rate.

Shape legend: N detections of the data set, D and T detections and truths of one image and class; a row is
(image id, x, y, width, height, score, category id) in pixels of the original image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO

from evaluation.coco_backends import Rows, accumulate, index

STATS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
RECALLS = ("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large")
DUPLICATE_SCORE, DUPLICATE_IOU = 0.3, 0.5
FALSE, CERTAIN, DUPLICATE, IGNORED = range(4)
Outcomes = NDArray[np.int_]


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
    """Second detections of an object that has one already, per truth, of score >= 0.3.

    Which these are, `outcomes` tells.
    """
    outcome_N = outcomes(truth, rows_N7[rows_N7[:, 5] >= DUPLICATE_SCORE])
    return int((outcome_N == DUPLICATE).sum()) / max(1, count_truths(truth))


def count_truths(truth: COCO) -> int:
    """The truths that can be found: all but the crowds."""
    return sum(not a.get("iscrowd", 0) for a in truth.dataset["annotations"])


def outcomes(truth: COCO, rows_N7: Rows) -> Outcomes:
    """What became of each detection: CERTAIN, DUPLICATE, IGNORED or FALSE.

    Detections take truths of their class, best score first and at IoU >= 0.5, as COCO's matching does: these
    are certain. One that finds only taken truths is a duplicate. Of those that find none, COCO ignores the
    ones that lie in a crowd of their class by half or more; the others are false. A detection's outcome does
    not depend on those of lower score, so that it holds above any threshold of the score.
    """
    by_place: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for annotation in truth.dataset["annotations"]:
        by_place.setdefault((annotation["image_id"], annotation["category_id"]), []).append(annotation)
    order_N = np.argsort(-rows_N7[:, 5], kind="stable")
    places: dict[tuple[int, int], list[int]] = {}
    for row in order_N.tolist():
        places.setdefault((int(rows_N7[row, 0]), int(rows_N7[row, 6])), []).append(row)
    outcome_N = np.full(len(rows_N7), FALSE)
    for place, found in places.items():
        if place in by_place:
            crowd_T = np.array([bool(a.get("iscrowd", 0)) for a in by_place[place]])
            truth_T4 = np.array([a["bbox"] for a in by_place[place]], dtype=np.float64)
            found_D4 = rows_N7[found, 1:5]
            outcome_D = _matched(found_D4, truth_T4[~crowd_T])
            in_crowd_D = (_overlaps(found_D4, truth_T4[crowd_T])[1] >= DUPLICATE_IOU).any(axis=1)
            outcome_D[(outcome_D == FALSE) & in_crowd_D] = IGNORED
            outcome_N[found] = outcome_D
    return outcome_N


def _matched(found_D4: Rows, truth_T4: Rows) -> Outcomes:
    """CERTAIN, DUPLICATE or FALSE for the detections of one image and class, best first."""
    outcome_D = np.full(len(found_D4), FALSE)
    taken_T = np.zeros(len(truth_T4), dtype=bool)
    if not len(truth_T4):
        return outcome_D
    for row, iou_T in enumerate(_overlaps(found_D4, truth_T4)[0]):
        free_T = np.where(taken_T, 0.0, iou_T)
        best = int(free_T.argmax())
        if free_T[best] >= DUPLICATE_IOU:
            taken_T[best] = True
            outcome_D[row] = CERTAIN
        elif iou_T.max() >= DUPLICATE_IOU:
            outcome_D[row] = DUPLICATE
    return outcome_D


def _overlaps(found_D4: Rows, truth_T4: Rows) -> tuple[Rows, Rows]:
    """IoU (D, T), and the part of each detection that lies in each truth (D, T)."""
    low = np.maximum(found_D4[:, None, :2], truth_T4[None, :, :2])
    high = np.minimum(
        found_D4[:, None, :2] + found_D4[:, None, 2:], truth_T4[None, :, :2] + truth_T4[None, :, 2:]
    )
    inter_DT = np.prod(np.clip(high - low, 0, None), axis=2)
    area_D, area_T = np.prod(found_D4[:, 2:], axis=1), np.prod(truth_T4[:, 2:], axis=1)
    iou_DT = inter_DT / np.maximum(area_D[:, None] + area_T - inter_DT, 1e-9)
    return iou_DT, inter_DT / np.maximum(area_D[:, None], 1e-9)


def _percent(value: float) -> float | None:
    return None if value < 0 else round(100.0 * float(value), 4)
