"""The numbers of eval.json for one selection of detections.

Shape legend: D detections, rows as in evaluation.overlaps; T IoU thresholds, R recalls, C categories, S
ranges of object size, N limits of detections per image and class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.coco_backends import LIMITS, accumulate, ap_of_images
from evaluation.outcomes import calibration_error, duplicate_rate, outcomes, usable
from evaluation.truth import Floats, Truth

STATS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
RECALLS = ("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large")
MANY = 300  # detections per image and class, for images with more objects than COCO's limit of 100


def evaluate(truth: Truth, rows_D7: Floats, backend: str = "auto") -> dict[str, Any]:
    """All numbers of one selection in eval.json; AP, recall and precision are 0 to 100.

    Returns:
        AP, AP50, AP75, AP_small, AP_medium, AP_large and AR1, ..., AR_large: COCO's;
        AP_300: AP with at most 300 detections per image and class, where an image holds over 100 objects;
        AP_crowded: AP of the half of the images that hold the most objects;
        per_class: AP by class name;
        duplicate_rate: duplicates per object at a score of 0.3 and above;
        usable_recall, usable_precision, usable_score: at the lowest score with at most 0.05 duplicates per
        object; calibration_error: see evaluation.outcomes.
        None stands where there is nothing to measure, such as AP_small in a set without small objects.
    """
    many = max(truth.objects_of.values(), default=0) > LIMITS[-1]
    found = accumulate(truth, rows_D7, backend, (*LIMITS, MANY) if many else LIMITS)
    result: dict[str, Any] = dict(zip(STATS + RECALLS, map(_percent, found.stats_12.tolist()), strict=True))
    precision_TRCN = found.precision_TRCSN[:, :, :, 0]  # of objects of all sizes
    result["AP_300"] = _mean(precision_TRCN[..., -1]) if many else None
    result["AP_crowded"] = _percent(ap_of_images(truth, rows_D7, truth.crowded_half, backend))
    result["per_class"] = {
        truth.names[category]: _mean(precision_TRCN[:, :, place, len(LIMITS) - 1])
        for place, category in enumerate(found.categories)
    }
    return result | _from_outcomes(truth, rows_D7)


def _from_outcomes(truth: Truth, rows_D7: Floats) -> dict[str, float | None]:
    outcome_D, score_D = outcomes(truth, rows_D7), rows_D7[:, 5]
    kept = usable(score_D, outcome_D, truth.objects)
    error = calibration_error(score_D, outcome_D)
    recall = (kept.recall if kept else 0.0) if truth.objects else None
    return {
        "duplicate_rate": duplicate_rate(score_D, outcome_D, truth.objects),
        "usable_recall": None if recall is None else round(100 * recall, 4),
        "usable_precision": None if kept is None else round(100 * kept.precision, 4),
        "usable_score": None if kept is None else round(kept.threshold, 4),
        "calibration_error": None if error is None else round(error, 4),
    }


def _mean(values: NDArray[np.float64]) -> float | None:
    """Over the classes that have objects: -1 marks the others."""
    return _percent(values[values > -1].mean() if (values > -1).any() else -1.0)


def _percent(value: float) -> float | None:
    return None if value < 0 else round(100.0 * float(value), 4)
