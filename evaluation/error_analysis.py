"""Where detections lose AP: the content of errors.json.

Shape legend: D detections, rows as in evaluation.overlaps; T IoU thresholds, R recalls, C categories, S
ranges of object size, N limits of detections per image and class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from evaluation.coco_backends import accumulate
from evaluation.outcomes import CERTAIN, DUPLICATE, FALSE, Outcomes, calibration_error, outcomes, usable
from evaluation.overlaps import overlaps
from evaluation.ranking import ranking
from evaluation.tide import installed, tide
from evaluation.truth import Floats, Truth

CURVE_IOUS = (0.5, 0.75)
BINS = 20


def analyse(truth: Truth, rows: Mapping[str, Floats], backend: str = "auto") -> dict[str, Any]:
    """For each selection of detections ("nms", "nms_free"): where it loses AP.

    Args:
        truth: the ground truth.
        rows: the detections of each selection.
        backend: auto or one of `coco_backends.BACKENDS`, for the curves.

    Returns:
        Per selection: "tide" (`evaluation.tide.tide`; None without hotcoco), "curves" (`curves`), "histogram"
        (`histogram`), "usable" and "calibration_error" (`evaluation.outcomes`), "ranking"
        (`evaluation.ranking.ranking`); plain numbers and lists.
    """
    return {name: _analyse_one(truth, rows_D7, backend) for name, rows_D7 in rows.items()}


def _analyse_one(truth: Truth, rows_D7: Floats, backend: str) -> dict[str, Any]:
    found, score_D = overlaps(truth, rows_D7), rows_D7[:, 5]
    outcome_D = outcomes(truth, rows_D7, found)
    kept = usable(score_D, outcome_D, truth.objects)
    return {
        "tide": tide(truth, rows_D7) if installed() else None,
        "curves": curves(truth, rows_D7, backend),
        "histogram": histogram(score_D, outcome_D),
        "usable": None if kept is None else asdict(kept),
        "calibration_error": calibration_error(score_D, outcome_D),
        "ranking": ranking(truth, rows_D7, found),
    }


def curves(truth: Truth, rows_D7: Floats, backend: str = "auto") -> dict[str, list[float]]:
    """COCO's precision at each recall of 0, 0.01, ..., 1: the mean of the classes that have truths.

    Returns:
        "0.5" and "0.75", the IoU, to 101 values of 0 to 1; none where there are no truths.
    """
    precision_TRCSN = accumulate(truth, rows_D7, backend).precision_TRCSN
    found = {}
    for iou in CURVE_IOUS:
        precision_RC = precision_TRCSN[round((iou - 0.5) / 0.05), :, :, 0, -1]
        measured_C = (precision_RC > -1).all(axis=0)
        found[str(iou)] = precision_RC[:, measured_C].mean(axis=1).tolist() if measured_C.any() else []
    return found


def histogram(score_D: Floats, outcome_D: Outcomes) -> dict[str, list[float]]:
    """How many detections of each outcome have a score in each of 20 equal bins of 0 to 1.

    Returns:
        "edges" (21 values), and "certain", "duplicate", "false" (20 counts); see `evaluation.outcomes`.
    """
    edges = np.linspace(0, 1, BINS + 1)
    counts = {
        name: np.histogram(score_D[outcome_D == outcome], edges)[0].tolist()
        for name, outcome in (("certain", CERTAIN), ("duplicate", DUPLICATE), ("false", FALSE))
    }
    return {"edges": edges.tolist(), **counts}
