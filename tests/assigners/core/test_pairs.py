"""The shared steps against plain sorting."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from assigners.core.boxes import power
from assigners.core.pairs import Pairs
from assigners.core.ranking import best_per_cell, rank_within, top_per_truth

# Few values, so that ties are common; far apart, so that a histogram's first and last bar both fill.
VALUES = (-1.0, -0.0, 0.0, 1e-38, 1e-9, 0.1, 0.10000001, 0.5, 0.50000006, 1.0, 3.4e38)


def pairs_of(counts: list[int]) -> Pairs:
    truth_M = torch.repeat_interleave(torch.tensor(counts, dtype=torch.long))
    return Pairs(truth_M, torch.cat([torch.arange(0), *(torch.arange(count) for count in counts)]))


def plain_top(pairs: Pairs, value_M: Tensor, k: int, truths: int) -> list[int]:
    chosen = []
    for g in range(truths):
        rows = [row for row, truth in enumerate(pairs.truth_M.tolist()) if truth == g]
        chosen += sorted(rows, key=lambda row: (-float(value_M[row]), row))[:k]
    return chosen


@given(st.lists(st.integers(0, 30), max_size=6), st.integers(1, 15), st.integers(0, 2**31))
def test_top_per_truth_equals_sorting(counts: list[int], k: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    pairs = pairs_of(counts)
    choice_M = torch.randint(len(VALUES), (len(pairs.truth_M),), generator=random)
    value_M = torch.tensor(VALUES)[choice_M]
    assert top_per_truth(pairs, value_M, k, len(counts)).tolist() == plain_top(pairs, value_M, k, len(counts))


@pytest.mark.parametrize("exponent", [0.2, 1, 6])
def test_top_per_truth_of_many_values_equals_sorting(exponent: float) -> None:
    pairs = pairs_of([3000, 0, 13, 700])
    value_M = torch.rand(len(pairs.truth_M), generator=torch.Generator().manual_seed(0)) ** exponent
    assert top_per_truth(pairs, value_M, 13, 4).tolist() == plain_top(pairs, value_M, 13, 4)


def test_rank_within_counts_from_zero_in_each_group() -> None:
    assert rank_within(torch.tensor([0, 0, 2, 2, 2]), 3).tolist() == [0, 1, 0, 1, 2]


def test_best_per_cell_prefers_the_earlier_of_equal_rows() -> None:
    cell_K = torch.tensor([7, 3, 7, 3, 7])
    assert best_per_cell(cell_K, torch.tensor([0.5, 0.1, 0.9, 0.1, 0.9]), 9).tolist() == [1, 2]


@pytest.mark.parametrize("exponent", [0.0, 0.2, 1.0, 2.0, 3, 6.0, 7.0, 9.0])
def test_power_is_that_of_float64_and_keeps_ties(exponent: float) -> None:
    base_N = torch.rand(1000, generator=torch.Generator().manual_seed(0)).repeat(3)[:2999]
    result_N = power(base_N, exponent)
    expected_N = torch.tensor([value**exponent for value in base_N.tolist()])
    assert torch.allclose(result_N, expected_N, rtol=1e-7, atol=0)
    assert torch.equal(result_N[:999], result_N[2000:])
