"""Does the score say which boxes are good, and does the second detection of an object keep up with the first?

Shape legend: N detections of the data set, rows as in engine.coco_metrics; D and T detections and truths of
one image and class; F objects that are found.
"""

from __future__ import annotations

import numpy as np
from pycocotools import mask
from pycocotools.coco import COCO

from evaluation.coco_backends import Rows
from evaluation.coco_metrics import DUPLICATE_IOU, count_truths


def ranking(truth: COCO, rows_N7: Rows) -> dict[str, float | None] | None:
    """How well scores order the objects' detections.

    A detection belongs to the object of its image and class that it overlaps most, if by an IoU of 0.5 or
    more; crowds are no objects. The first detection of an object is the one of the highest score.

    Returns:
        "found": objects with a detection, of all; "iou": mean IoU of the first detections, 0 to 1;
        "correlation": Spearman's, of the scores of the first detections and their IoUs (None where either is
        the same for all); "second": median of the second detection's score by the first's, 0 without a
        second. None if nothing is found.
    """
    by_place: dict[tuple[int, int], list[list[float]]] = {}
    for annotation in truth.dataset["annotations"]:
        if not annotation.get("iscrowd", 0):
            by_place.setdefault((annotation["image_id"], annotation["category_id"]), []).append(
                annotation["bbox"]
            )
    places: dict[tuple[int, int], list[int]] = {}
    for row in np.argsort(-rows_N7[:, 5], kind="stable").tolist():
        places.setdefault((int(rows_N7[row, 0]), int(rows_N7[row, 6])), []).append(row)
    firsts: list[tuple[float, float, float]] = []
    for place, boxes in by_place.items():
        if place in places:
            firsts += _firsts(rows_N7[places[place]], np.array(boxes, dtype=np.float64))
    if not firsts:
        return None
    score_F, iou_F, second_F = np.array(firsts).T
    return {
        "found": len(firsts) / count_truths(truth),
        "iou": float(iou_F.mean()),
        "correlation": spearman(score_F, iou_F),
        "second": float(np.median(second_F / score_F)),
    }


def _firsts(rows_D7: Rows, truth_T4: Rows) -> list[tuple[float, float, float]]:
    """Score and IoU of each found object's first detection, and the score of its second; best score first."""
    iou_DT = mask.iou(rows_D7[:, 1:5], truth_T4, [0] * len(truth_T4))
    owner_D, iou_D = iou_DT.argmax(axis=1), iou_DT.max(axis=1)
    firsts = []
    for truth in range(len(truth_T4)):
        own = np.flatnonzero((owner_D == truth) & (iou_D >= DUPLICATE_IOU))
        if len(own):
            second = rows_D7[own[1], 5] if len(own) > 1 else 0.0
            firsts.append((rows_D7[own[0], 5], iou_D[own[0]], second))
    return firsts


def spearman(first_F: Rows, second_F: Rows) -> float | None:
    """Spearman's rank correlation, equal values at the mean of their ranks; None if all are equal in one."""
    ranks = []
    for value_F in (first_F, second_F):
        _, place_F, count = np.unique(value_F, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(count) - (count - 1) / 2)[place_F])
    if any(rank_F.min() == rank_F.max() for rank_F in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
