"""Where the AP of a run is lost, from its truths and its detections with and without NMS.

Pure functions: `analyse` gives all of it, and errors.json holds what it gives.

Shape legend: N detections of the data set, rows as in engine.coco_metrics; T IoU thresholds, R recalls,
K categories, A areas, M detection limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pycocotools.coco import COCO

from evaluation.coco_backends import Rows, accumulate
from evaluation.coco_metrics import CERTAIN, DUPLICATE, FALSE, Outcomes, count_truths, outcomes
from evaluation.ranking import ranking
from evaluation.tide import installed, tide

CURVE_IOUS = (0.5, 0.75)
BINS = 20
MOST_DUPLICATES = 0.05  # per object, at the threshold from which on detections are usable as they are


def analyse(truth: COCO, rows: Mapping[str, Rows], backend: str = "pycocotools") -> dict[str, Any]:
    """For each selection of detections ("nms", "nms_free"): tide, curves, histogram, usable, ranking.

    Args:
        truth: `coco_metrics.ground_truth`.
        rows: the detections of each selection.
        backend: one of `coco_backends.BACKENDS`, for the curves.

    Returns:
        Per selection: "tide" (`evaluation.tide.tide`; None without hotcoco), "curves" (`curves`), "histogram"
        (`histogram`), "usable" (`usable`), "ranking" (`evaluation.ranking.ranking`); plain numbers and lists.
    """
    return {name: _analyse_one(truth, rows_N7, backend) for name, rows_N7 in rows.items()}


def _analyse_one(truth: COCO, rows_N7: Rows, backend: str) -> dict[str, Any]:
    outcome_N, score_N = outcomes(truth, rows_N7), rows_N7[:, 5]
    return {
        "tide": tide(truth, rows_N7) if installed() else None,
        "curves": curves(truth, rows_N7, backend),
        "histogram": histogram(score_N, outcome_N),
        "usable": usable(score_N, outcome_N, count_truths(truth)),
        "ranking": ranking(truth, rows_N7),
    }


def curves(truth: COCO, rows_N7: Rows, backend: str = "pycocotools") -> dict[str, list[float]]:
    """COCO's precision at each recall of 0, 0.01, ..., 1: the mean of the classes that have truths.

    Returns:
        "0.5" and "0.75", the IoU, to 101 values of 0 to 1; none where there are no truths.
    """
    precision_TRKAM = accumulate(truth, rows_N7, backend).precision_TRKAM
    found = {}
    for iou in CURVE_IOUS:
        precision_RK = precision_TRKAM[round((iou - 0.5) / 0.05), :, :, 0, -1]
        measured_K = (precision_RK > -1).all(axis=0)
        found[str(iou)] = precision_RK[:, measured_K].mean(axis=1).tolist() if measured_K.any() else []
    return found


def histogram(score_N: Rows, outcome_N: Outcomes) -> dict[str, list[float]]:
    """How many detections of each outcome have a score in each of 20 equal bins of 0 to 1.

    Returns:
        "edges" (21 values), and "certain", "duplicate", "false" (20 counts); see `coco_metrics.outcomes`.
    """
    edges = np.linspace(0, 1, BINS + 1)
    counts = {
        name: np.histogram(score_N[outcome_N == outcome], edges)[0].tolist()
        for name, outcome in (("certain", CERTAIN), ("duplicate", DUPLICATE), ("false", FALSE))
    }
    return {"edges": edges.tolist(), **counts}


def usable(score_N: Rows, outcome_N: Outcomes, truths: int) -> dict[str, float] | None:
    """The lowest threshold of the score at which there are at most 0.05 duplicates per object.

    Thresholds are the scores that occur; a detection is kept at its own score and above. What lies in crowds
    counts neither way.

    Returns:
        "threshold", and of the detections kept there: "duplicates" per object, "recall" (objects that are
        found, of all) and "precision" (certain ones, of all). None if no threshold will do.
    """
    order_N = np.argsort(-score_N, kind="stable")
    score_N, outcome_N = score_N[order_N], outcome_N[order_N]
    last_N = np.append(score_N[1:] != score_N[:-1], True)[: len(score_N)]  # of each run of equal scores
    counts = {outcome: np.cumsum(outcome_N == outcome) for outcome in (CERTAIN, DUPLICATE, FALSE)}
    good = np.flatnonzero(last_N & (counts[DUPLICATE] <= MOST_DUPLICATES * truths))
    if not len(good) or not truths:
        return None
    at = good[-1]
    certain, duplicate, false = (int(counts[outcome][at]) for outcome in (CERTAIN, DUPLICATE, FALSE))
    return {
        "threshold": float(score_N[at]),
        "duplicates": duplicate / truths,
        "recall": certain / truths,
        "precision": certain / max(1, certain + duplicate + false),
    }
