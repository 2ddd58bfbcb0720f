"""Whether scores order boxes well, and whether an object's second detection scores as high as its first.

Shape legend: D detections, rows as in evaluation.overlaps; N objects that are found; M detections that belong
to an object.
"""

from __future__ import annotations

import numpy as np

from evaluation.overlaps import Overlaps, overlaps
from evaluation.truth import Floats, Truth


def ranking(truth: Truth, rows_D7: Floats, found: Overlaps | None = None) -> dict[str, float | None] | None:
    """How well scores order the detections of the objects.

    A detection belongs to the object of its image and class that it overlaps most, if by an IoU of 0.5 or
    more; crowd regions are no objects. The first detection of an object is the one of the highest score.

    Args:
        truth: the ground truth.
        rows_D7: the detections, in any order.
        found: their `overlaps`, if they are known.

    Returns:
        "found": objects with a detection, of all; "iou": mean IoU of the first detections, 0 to 1;
        "correlation": Spearman's, of the scores of the first detections and their IoUs (None where either is
        the same for all); "second": median of the second detection's score by the first's, 0 without a
        second. None if nothing is found.
    """
    found = overlaps(truth, rows_D7) if found is None else found
    if not len(found.detection_M):
        return None
    # Pairs are sorted by score, then IoU: the first pair of a detection names the object that it matches.
    owner = np.flatnonzero(np.diff(found.detection_M, prepend=-1) != 0)
    object_M, score_M = found.object_M[owner], rows_D7[found.detection_M[owner], 5]
    by_object = np.argsort(object_M, kind="stable")
    first_N = np.flatnonzero(np.diff(object_M[by_object], prepend=-1) != 0)
    count_N = np.diff(first_N, append=len(by_object))
    score_N, iou_N = score_M[by_object[first_N]], found.iou_M[owner][by_object[first_N]]
    after_N = by_object[np.minimum(first_N + 1, len(by_object) - 1)]
    second_N = np.where(count_N > 1, score_M[after_N], 0.0)
    return {
        "found": len(first_N) / truth.objects,
        "iou": float(iou_N.mean()),
        "correlation": spearman(score_N, iou_N),
        "second": float(np.median(second_N / score_N)),
    }


def spearman(first_N: Floats, second_N: Floats) -> float | None:
    """Spearman's rank correlation, equal values at the mean of their ranks; None if all are equal in one."""
    ranks = []
    for value_N in (first_N, second_N):
        _, place_N, count = np.unique(value_N, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(count) - (count - 1) / 2)[place_N])
    if any(rank_N.min() == rank_N.max() for rank_N in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
