"""Intervals over draws, trainings and data sets, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evaluation.bootstrap import difference, interval_over_sets, seeded_interval


def test_one_training_has_the_interval_of_its_draws() -> None:
    value_U = np.random.default_rng(0).normal(size=500)
    assert seeded_interval(value_U[None]) == difference(value_U, np.zeros(500))


def test_trainings_that_differ_widen_the_interval() -> None:
    # Constant over images: the mean of two drawn trainings is 0, 0.5 or 1, in a quarter, half and quarter.
    value_SU = np.repeat([[0.0], [1.0]], 4001, axis=1)
    found = seeded_interval(value_SU)
    assert (found.mean, found.low, found.high) == (0.5, 0.0, 1.0)
    # Of ten trainings a draw that misses all nine zeros is rare: the bounds are those of a mean of ten.
    ten = seeded_interval(np.repeat([[1.0]] + [[0.0]] * 9, 4001, axis=1))
    assert (ten.mean, ten.low, ten.high) == pytest.approx((0.1, 0.0, 0.3))


def test_draws_of_images_are_paired_over_trainings() -> None:
    image_U = np.random.default_rng(1).normal(size=2000)
    found = seeded_interval(np.stack([image_U, image_U, image_U]))
    alone = difference(image_U, np.zeros(2000))
    assert (found.mean, found.low, found.high) == pytest.approx((alone.mean, alone.low, alone.high))


def test_the_interval_over_sets_is_students() -> None:
    found = interval_over_sets([1.0, 2.0, 3.0, 4.0])
    assert found.mean == 2.5
    half = 3.182 * math.sqrt(5 / 3) / 2
    assert (found.low, found.high) == pytest.approx((2.5 - half, 2.5 + half))
    many = interval_over_sets(list(range(13)))  # 12 degrees of freedom: 2.1788
    assert many.high - many.mean == pytest.approx(
        2.1788 * np.std(range(13), ddof=1) / math.sqrt(13), rel=1e-3
    )
    one = interval_over_sets([3.0])
    assert one.mean == 3.0
    assert math.isnan(one.low)
    assert math.isnan(one.high)
