"""What became of each detection, and what follows from it: duplicates, usable recall, calibration.

Shape legend: D detections, rows as in evaluation.overlaps; N bins of the score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.overlaps import Overlaps, overlaps
from evaluation.truth import Floats, Truth

FALSE, CERTAIN, DUPLICATE, IGNORED = range(4)
Outcomes = NDArray[np.int_]
DUPLICATE_SCORE = 0.3
MOST_DUPLICATES = 0.05  # per object, at the threshold from which on detections are usable as they are
CALIBRATION_BINS = 15


def outcomes(truth: Truth, rows_D7: Floats, found: Overlaps | None = None) -> Outcomes:
    """Each detection is CERTAIN, DUPLICATE, IGNORED or FALSE.

    Detections take objects of their image and class, the highest score first, each the free object of the
    largest IoU of 0.5 or more, as COCO's matching does: these are certain. One that overlaps only taken
    objects so much is a duplicate. Of the rest, COCO ignores those of which half or more lies in a crowd
    region of their class; the others are false. An outcome does not depend on detections of lower score, so
    it holds above any threshold of the score.

    Args:
        truth: the ground truth.
        rows_D7: the detections, in any order.
        found: their `overlaps`, if they are known.
    """
    found = overlaps(truth, rows_D7) if found is None else found
    outcome_D = np.where(found.in_crowd_D, IGNORED, FALSE)
    outcome_D[found.detection_M] = DUPLICATE
    taken, certain, last = set[int](), list[int](), -1
    for detection, annotation in zip(found.detection_M.tolist(), found.object_M.tolist(), strict=True):
        if detection != last and annotation not in taken:
            taken.add(annotation)
            certain.append(detection)
            last = detection
    outcome_D[certain] = CERTAIN
    return outcome_D


def duplicate_rate(score_D: Floats, outcome_D: Outcomes, objects: int) -> float:
    """Duplicates with a score of 0.3 or more, per object."""
    return int(((outcome_D == DUPLICATE) & (score_D >= DUPLICATE_SCORE)).sum()) / max(1, objects)


@dataclass(frozen=True)
class Usable:
    """Detections above the lowest score with at most 0.05 duplicates per object.

    Attributes:
        threshold: that score; a detection is kept at its own score and above.
        duplicates: per object.
        recall: objects that are found, of all.
        precision: certain detections, of certain, duplicate and false ones.
    """

    threshold: float
    duplicates: float
    recall: float
    precision: float


def usable(score_D: Floats, outcome_D: Outcomes, objects: int) -> Usable | None:
    """What is left where duplicates are rare: the detections that can be used without NMS.

    Thresholds are the scores that occur; what is IGNORED counts neither way. None if no threshold will do.
    """
    order_D = np.argsort(-score_D, kind="stable")
    score_D, outcome_D = score_D[order_D], outcome_D[order_D]
    last_D = np.append(score_D[1:] != score_D[:-1], True)[: len(score_D)]  # of each run of equal scores
    counts = {outcome: np.cumsum(outcome_D == outcome) for outcome in (CERTAIN, DUPLICATE, FALSE)}
    good = np.flatnonzero(last_D & (counts[DUPLICATE] <= MOST_DUPLICATES * objects))
    if not len(good) or not objects:
        return None
    certain, duplicate, false = (int(counts[outcome][good[-1]]) for outcome in (CERTAIN, DUPLICATE, FALSE))
    kept = certain + duplicate + false
    return Usable(float(score_D[good[-1]]), duplicate / objects, certain / objects, certain / max(1, kept))


def calibration_error(score_D: Floats, outcome_D: Outcomes) -> float | None:
    """Expected calibration error, 0 to 1: how far scores are from the share of detections that are right.

    Right is what is CERTAIN, so a duplicate is wrong; what is IGNORED is left out. The mean over 15 equal
    bins of the score, weighted by their detections, of |mean score - share that is right| (Guo et al., On
    Calibration of Modern Neural Networks, arXiv 1706.04599, equation 3). It covers the detections there are,
    so those above `eval.score_threshold`. None without any.
    """
    counts_D = outcome_D != IGNORED
    score_D, right_D = score_D[counts_D], (outcome_D == CERTAIN)[counts_D].astype(np.float64)
    if not len(score_D):
        return None
    bin_D = np.minimum((score_D * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    apart_N = np.bincount(bin_D, score_D - right_D, CALIBRATION_BINS)
    return float(np.abs(apart_N).sum() / len(score_D))
