"""pycocotools' matching of detections to objects, as flat arrays from which AP of any draw of images follows.

Shape legend:
    I images, C classes, T IoU thresholds, G objects, D detections (by class, then best score first),
    N pairs (threshold, detection) that are right, V pairs that do not count; both by class, then threshold.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.coco_backends import LIMITS, pycocotools_evaluation
from evaluation.truth import Floats, Truth

Ints = NDArray[np.intp]
ALL_AREAS = [0.0, 1e10]  # of the AP that stands first in COCO's summary


@dataclass(frozen=True)
class Matches:
    """What COCOeval found, over objects of all sizes.

    Attributes:
        images: how many, those without truths too. Images are numbered in the order of their ids.
        classes, thresholds: how many; IoU thresholds.
        truth_image_G, truth_class_G: of the objects, so without crowd regions.
        image_D: the image of each detection.
        right_N: index into D.
        image_N, class_N: the image and the class.
        class_start_N: index into D, the first detection of the class.
        group_N, group_start_N: the number of (class, threshold), and the index into N of its first entry.
        ignored_image_V: the image. A detection that lies on a crowd counts neither as right nor as wrong.
        ignored_from_N, ignored_until_N: the rows of V of the same class and threshold that score better.
    """

    images: int
    classes: int
    thresholds: int
    truth_image_G: Ints
    truth_class_G: Ints
    image_D: Ints
    right_N: Ints
    image_N: Ints
    class_N: Ints
    class_start_N: Ints
    group_N: Ints
    group_start_N: Ints
    ignored_image_V: Ints
    ignored_from_N: Ints
    ignored_until_N: Ints


def match(truth: Truth, rows_D7: Floats, limit: int = LIMITS[-1]) -> Matches:
    """Matches detections, rows as in evaluation.overlaps, to the objects of their images.

    Every image id of the rows must be one of the truth; detections of other categories count for
    nothing. At most `limit` detections of an image and class take part.
    """
    evaluation = _evaluated(truth, rows_D7, limit)
    images, thresholds = len(evaluation.params.imgIds), len(evaluation.params.iouThrs)
    classes = [
        _one_class(evaluation.evalImgs[first : first + images], thresholds)
        for first in range(0, len(evaluation.evalImgs), images or 1)
    ]
    image_D = _joined([c.image_D for c in classes])
    start_C = np.cumsum([0] + [len(c.image_D) for c in classes])[:-1]
    right = _stack([c.right_TD for c in classes], start_C)
    ignored = _stack([c.ignored_TD for c in classes], start_C)
    group_N, group_V = (part[0] * thresholds + part[1] for part in (right, ignored))
    # Within a group the detections rise, so one key orders (group, detection).
    detections = len(image_D) + 1
    key_V = group_V * detections + ignored[2]
    return Matches(
        images=images,
        classes=len(classes),
        thresholds=thresholds,
        truth_image_G=_joined([c.truth_image_G for c in classes]),
        truth_class_G=_joined([np.full(len(c.truth_image_G), k) for k, c in enumerate(classes)]),
        image_D=image_D,
        right_N=right[2],
        image_N=image_D[right[2]],
        class_N=right[0],
        class_start_N=start_C[right[0]],
        group_N=group_N,
        group_start_N=np.searchsorted(group_N, group_N),
        ignored_image_V=image_D[ignored[2]],
        ignored_from_N=np.searchsorted(key_V, group_N * detections),
        ignored_until_N=np.searchsorted(key_V, group_N * detections + right[2]),
    )


@dataclass(frozen=True)
class _OneClass:
    """The detections of one class in all images, best score first."""

    image_D: Ints
    truth_image_G: Ints
    right_TD: NDArray[np.bool_]
    ignored_TD: NDArray[np.bool_]


def _evaluated(truth: Truth, rows_D7: Floats, limit: int) -> Any:
    evaluation = pycocotools_evaluation(truth, rows_D7)
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [ALL_AREAS], ["all"]
    evaluation.params.maxDets = [limit]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its progress by print
        evaluation.evaluate()
    return evaluation


def _one_class(found: Sequence[Mapping[str, Any] | None], thresholds: int) -> _OneClass:
    """Joins what COCOeval found in each image; None stands where there is neither truth nor detection."""
    there = [(image, one) for image, one in enumerate(found) if one is not None]
    score_D = _joined([one["dtScores"] for _, one in there], np.float64)
    order_D = np.argsort(-score_D, kind="mergesort")  # stable, as COCOeval's, so that ties fall alike
    empty = np.zeros((thresholds, 0), dtype=bool)
    matched_TD = np.concatenate([empty, *(one["dtMatches"] != 0 for _, one in there)], axis=1)[:, order_D]
    ignored_TD = np.concatenate([empty, *(one["dtIgnore"] for _, one in there)], axis=1)[:, order_D]
    return _OneClass(
        image_D=_joined([np.full(len(one["dtScores"]), image) for image, one in there])[order_D],
        truth_image_G=_joined([np.full((one["gtIgnore"] == 0).sum(), image) for image, one in there]),
        right_TD=matched_TD & ~ignored_TD,
        ignored_TD=ignored_TD,
    )


def _stack(masks_TD: Sequence[NDArray[np.bool_]], start_C: Ints) -> tuple[Ints, Ints, Ints]:
    """Class, threshold and index into all detections of what is set, in this order."""
    places = [np.nonzero(mask_TD) for mask_TD in masks_TD]
    class_N = _joined([np.full(len(threshold), k) for k, (threshold, _) in enumerate(places)])
    place_N = _joined([place + start for (_, place), start in zip(places, start_C, strict=True)])
    return class_N, _joined([threshold for threshold, _ in places]), place_N


def _joined(parts: Sequence[Any], kind: Any = np.intp) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype=kind), *parts]).astype(kind)
