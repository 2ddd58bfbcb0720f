"""The exponent that the script of growth reports is the one of the law."""

import pytest

from benchmarks.assigners.linear import exponent


def test_the_exponent_of_a_power_law_is_found() -> None:
    assert exponent([(n, 3.0 * n**1.25) for n in (10, 100, 1000)]) == pytest.approx(1.25)
