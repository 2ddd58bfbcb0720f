"""Whether a difference in AP could be due to the choice of the validation images: the paired bootstrap.

Each draw takes images of the validation set with replacement, and AP is counted on it. Detections are matched
once: matching happens within an image, so a draw is a weight per image, and AP follows from running sums over
the matches. Two detectors are compared on the same draws (Efron and Tibshirani, An Introduction to
the Bootstrap, 1993, chapter 13: percentile intervals).

Shape legend: I images, C classes, U the set itself and its draws; N, D, V, G as in evaluation.matching; S
trainings, N data sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.matching import Matches
from evaluation.truth import Floats

RECALLS = np.linspace(0.0, 1.0, 101)  # of COCOeval, bit for bit
LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """AP of one minus AP of another.

    Attributes:
        mean: on the validation set itself.
        low, high: the 95% interval over resamples.
    """

    mean: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def draws(images: int, resamples: int, seed: int = 0) -> Iterator[NDArray[np.int64]]:
    """How often each image occurs in each resample, as (I,) arrays. The same seed gives the same draws."""
    rng = np.random.Generator(np.random.PCG64(seed))
    for _ in range(resamples):
        yield np.bincount(rng.integers(images, size=images), minlength=images)


def average_precision(matches: Matches, weight_I: NDArray[np.int64]) -> float:
    """COCO's AP, 0-100, of a validation set in which image i occurs weight_I[i] times.

    With ones it is that of COCOeval. With other weights it is that of the set written out, as long as no two
    detections of one class in one image have the same score: copies of a detection follow each other here.
    NaN if no object is left.
    """
    truths_C = np.bincount(matches.truth_class_G, weight_I[matches.truth_image_G], matches.classes)
    if not truths_C.any():
        return float("nan")
    images = (matches.image_N, matches.image_D, matches.ignored_image_V)
    right, seen, ignored = (_running(weight_I[image]) for image in images)
    right_N = right[1:] - right[matches.group_start_N]
    seen_N = seen[matches.right_N + 1] - seen[matches.class_start_N]
    seen_N -= ignored[matches.ignored_until_N] - ignored[matches.ignored_from_N]
    # A class that has no object in this draw has no weight in image_N either: its precision is zero.
    precision_N = right_N / (seen_N + np.spacing(1))
    # The best precision from here on, within the group: an offset per group keeps the maximum inside.
    offset_N = 2.0 * (matches.group_N[-1:] - matches.group_N)
    best_N = np.maximum.accumulate((precision_N + offset_N)[::-1])[::-1] - offset_N
    # How many recall thresholds are reached first by this detection.
    recall_N = right_N / np.maximum(truths_C, 1)[matches.class_N]
    reached_N = np.searchsorted(RECALLS, recall_N, side="right")
    first_N = matches.group_start_N == np.arange(len(reached_N))
    new_N = np.where(first_N, reached_N, np.diff(reached_N, prepend=0))
    terms = len(RECALLS) * matches.thresholds * np.count_nonzero(truths_C)
    return float(100.0 * (best_N * new_N).sum() / terms)


def _running(weight: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sums of everything before each place, and of all."""
    total = np.zeros(len(weight) + 1, dtype=np.int64)
    np.cumsum(weight, out=total[1:])
    return total


def resampled(matches: Matches, resamples: int, seed: int = 0) -> Floats:
    """AP on the set itself, then on each of the draws: (U,)."""
    whole = np.ones(matches.images, dtype=np.int64)
    weights = (whole, *draws(matches.images, resamples, seed))
    return np.array([average_precision(matches, weight_I) for weight_I in weights])


def difference(first_U: Floats, second_U: Floats) -> Difference:
    """Compares two results of `resampled` of the same seed, or means of several, by their draws."""
    apart_U = first_U - second_U
    if np.isnan(apart_U[1:]).all():
        return Difference(float(apart_U[0]), float("nan"), float("nan"))
    tail = 100.0 * (1.0 - LEVEL) / 2
    low, high = np.nanpercentile(apart_U[1:], (tail, 100.0 - tail))
    return Difference(float(apart_U[0]), float(low), float(high))


def seeded_interval(value_SU: Floats, seed: int = 0) -> Difference:
    """A number's mean over trainings, with its 95% interval over images and trainings.

    Each draw of the images is joined with a draw, with replacement, of the trainings: a bootstrap in two
    stages. With few trainings it understates how far they differ, by a factor of sqrt(1 - 1 / trainings).

    Args:
        value_SU: of each training (seed) on the set itself and on each draw of the images; the same draws for
            all trainings.
        seed: of the draws of trainings.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    trainings, columns = value_SU.shape
    chosen_SU = rng.integers(trainings, size=(trainings, columns))
    chosen_SU[:, 0] = np.arange(trainings)
    mean_U = np.take_along_axis(value_SU, chosen_SU, axis=0).mean(axis=0)
    return difference(mean_U, np.zeros(columns))


# Of Student's t: 97.5% are below, by degrees of freedom from 1.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def interval_over_sets(values: Sequence[float]) -> Difference:
    """The mean over data sets and its 95% interval by Student's t, for sets drawn from all such sets.

    One set has no interval: NaN.
    """
    value_N = np.asarray(values, dtype=np.float64)
    count, mean = len(value_N), float(value_N.mean())
    if count < 2:
        return Difference(mean, float("nan"), float("nan"))
    # From 11 degrees of freedom on an expansion around the normal distribution is right to 0.002.
    quantile = (
        _STUDENT[count - 2] if count <= 11 else 1.95996 + 2.3722 / (count - 1) + 2.8225 / (count - 1) ** 2
    )
    half = quantile * float(value_N.std(ddof=1)) / count**0.5
    return Difference(mean, mean - half, mean + half)
