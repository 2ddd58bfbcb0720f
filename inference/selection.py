"""The selections of `detector.select` for one image in numpy, for exported files that hold none.

Shape legend: P points of L levels, C classes, M (point, class) pairs, N detections.
"""

from __future__ import annotations

import numpy as np

from inference.predictor import Raw
from inference.record import Record


def select_from(
    name: str, boxes_P4: np.ndarray, scores_PC: np.ndarray, level_P: np.ndarray, record: Record, score: float
) -> Raw:
    """The detections among all points, by name "topk" or "nms".

    Args:
        boxes_P4: clipped; those without extent are dropped.
        level_P: the feature level of each point.
    """
    options = record.selection
    solid_P1 = (boxes_P4[:, 2:] > boxes_P4[:, :2]).all(axis=1, keepdims=True)
    point_M, label_M = ((scores_PC > score) & solid_P1).nonzero()
    score_M = scores_PC[point_M, label_M]
    # nonzero goes by point, then class, and the sort is stable: ties keep that order.
    best_M = np.argsort(-score_M, kind="stable")
    level_M = level_P[point_M[best_M]]
    best_M = best_M[_place_in_group(level_M) < options.candidates]
    boxes_N4, scores_N, labels_N = boxes_P4[point_M[best_M]], score_M[best_M], label_M[best_M]
    if name == "nms":
        keep_N = _not_suppressed(boxes_N4.astype(np.float64), labels_N, options.nms_iou, options.limit)
        boxes_N4, scores_N, labels_N = boxes_N4[keep_N], scores_N[keep_N], labels_N[keep_N]
    return boxes_N4[: options.limit], scores_N[: options.limit], labels_N[: options.limit].astype(np.int64)


def clipped(boxes_N4: np.ndarray, size_2: np.ndarray) -> np.ndarray:
    """Boxes xyxy cut off at the borders of the image, of `size_2` (height, width), inside the canvas."""
    limit_4 = np.array([size_2[1], size_2[0]] * 2, dtype=boxes_N4.dtype)
    return boxes_N4.clip(0, limit_4)


def _place_in_group(group_M: np.ndarray) -> np.ndarray:
    """How many members of its group stand before each row."""
    place_M = np.empty(len(group_M), dtype=np.int64)
    for group in np.unique(group_M):
        rows = (group_M == group).nonzero()[0]
        place_M[rows] = np.arange(len(rows))
    return place_M


def _not_suppressed(boxes_N4: np.ndarray, labels_N: np.ndarray, iou: float, limit: int) -> np.ndarray:
    """The rows, best first, that no better kept row of their class overlaps by more than `iou`."""
    area_N = (boxes_N4[:, 2:] - boxes_N4[:, :2]).clip(0).prod(axis=1)
    left_N = np.arange(len(boxes_N4))
    kept: list[int] = []
    while len(left_N) and len(kept) < limit:
        best, left_N = left_N[0], left_N[1:]
        kept.append(best)
        low_N2 = np.maximum(boxes_N4[best, :2], boxes_N4[left_N, :2])
        high_N2 = np.minimum(boxes_N4[best, 2:], boxes_N4[left_N, 2:])
        both_N = (high_N2 - low_N2).clip(0).prod(axis=1)
        iou_N = both_N / np.maximum(area_N[best] + area_N[left_N] - both_N, np.finfo(np.float64).tiny)
        left_N = left_N[(labels_N[left_N] != labels_N[best]) | (iou_N <= iou)]
    return np.array(kept, dtype=np.int64)
