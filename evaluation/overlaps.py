"""Which detections overlap which objects of their image and class, for a whole data set at once.

Shape legend: D detections, rows (image id, x, y, width, height, score, category id) in pixels of the original
image; A annotations; M pairs of a detection and an annotation; N rows of any boxes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.truth import Floats, Truth

Ints = NDArray[np.int64]
MATCH_IOU = 0.5
PAIRS_AT_ONCE = 1 << 20  # bounds the memory: images with a thousand objects make millions of pairs


@dataclass(frozen=True)
class Overlaps:
    """Pairs of a detection and an object with an IoU of 0.5 or more.

    Pairs are sorted by the score of the detection, highest first, then by IoU, highest first; ties go to the
    lower row.

    Attributes:
        detection_M, object_M: rows of the detections and of the annotations.
        iou_M: 0.5 to 1.
        in_crowd_D: half or more of the detection lies in a crowd region of its class.
    """

    detection_M: Ints
    object_M: Ints
    iou_M: Floats
    in_crowd_D: NDArray[np.bool_]


def overlaps(truth: Truth, rows_D7: Floats) -> Overlaps:
    """All pairs of one image and class that overlap by an IoU of 0.5 or more."""
    in_crowd_D = np.zeros(len(rows_D7), dtype=bool)
    parts = []
    for detection_M, annotation_M in _same_image_and_class(truth, rows_D7):
        found_M4, truth_M4 = rows_D7[detection_M, 1:5], truth.xywh_A4[annotation_M]
        inter_M, area_M, union_M = _areas(found_M4, truth_M4)
        crowd_M = truth.crowd_A[annotation_M]
        covered_M = inter_M / np.maximum(area_M, 1e-9)
        in_crowd_D[detection_M[crowd_M & (covered_M >= MATCH_IOU)]] = True
        iou_M = inter_M / np.maximum(union_M, 1e-9)
        keep_M = ~crowd_M & (iou_M >= MATCH_IOU)
        parts.append((detection_M[keep_M], annotation_M[keep_M], iou_M[keep_M]))
    empty = np.zeros(0, dtype=np.int64)
    detection_M = np.concatenate([empty, *(part[0] for part in parts)])
    annotation_M = np.concatenate([empty, *(part[1] for part in parts)])
    iou_M = np.concatenate([np.zeros(0), *(part[2] for part in parts)])
    order_M = np.lexsort((annotation_M, -iou_M, detection_M, -rows_D7[detection_M, 5]))
    return Overlaps(detection_M[order_M], annotation_M[order_M], iou_M[order_M], in_crowd_D)


def _same_image_and_class(truth: Truth, rows_D7: Floats) -> Iterator[tuple[Ints, Ints]]:
    """Rows of detections and annotations of one image and class, about PAIRS_AT_ONCE pairs at a time."""
    # Ranks, not ids, so that one integer holds both; what the truth does not know is -1, as no annotation is.
    place_A = _place(truth, truth.image_A, truth.category_A)
    place_D = _place(truth, rows_D7[:, 0].astype(np.int64), rows_D7[:, 6].astype(np.int64))
    order_A = np.argsort(place_A, kind="stable")
    first_D = np.searchsorted(place_A[order_A], place_D, side="left")
    count_D = np.searchsorted(place_A[order_A], place_D, side="right") - first_D
    chunk_D = np.cumsum(count_D) // PAIRS_AT_ONCE
    for chunk in np.unique(chunk_D):
        detection = np.flatnonzero(chunk_D == chunk)
        count = count_D[detection]
        detection_M = np.repeat(detection, count)
        within_M = np.arange(len(detection_M)) - np.repeat(np.cumsum(count) - count, count)
        yield detection_M, order_A[np.repeat(first_D[detection], count) + within_M]


def _place(truth: Truth, image_N: Ints, category_N: Ints) -> Ints:
    """One number for image and class, -1 where the truth does not know one of them."""
    categories = np.array(sorted(truth.names), dtype=np.int64)
    image_rank_N = _rank(np.array(truth.image_ids, dtype=np.int64), image_N)
    category_rank_N = _rank(categories, category_N)
    known_N = (image_rank_N >= 0) & (category_rank_N >= 0)
    return np.where(known_N, image_rank_N * len(categories) + category_rank_N, -1)


def _rank(sorted_ids: Ints, id_N: Ints) -> Ints:
    if not len(sorted_ids):
        return np.full(len(id_N), -1)
    rank_N = np.searchsorted(sorted_ids, id_N).clip(max=len(sorted_ids) - 1)
    return np.where(sorted_ids[rank_N] == id_N, rank_N, -1)


def _areas(found_M4: Floats, truth_M4: Floats) -> tuple[Floats, Floats, Floats]:
    """Of each pair: area of the intersection, area of the detection, area of the union."""
    low_M2 = np.maximum(found_M4[:, :2], truth_M4[:, :2])
    high_M2 = np.minimum(found_M4[:, :2] + found_M4[:, 2:], truth_M4[:, :2] + truth_M4[:, 2:])
    inter_M = np.prod(np.clip(high_M2 - low_M2, 0, None), axis=1)
    area_M = np.prod(found_M4[:, 2:], axis=1)
    return inter_M, area_M, area_M + np.prod(truth_M4[:, 2:], axis=1) - inter_M
