"""Operations and waits: the limits of the assigners, and what is counted."""

import pytest
import torch

from benchmarks.assigners.cases import STRIDES, Case
from benchmarks.assigners.launches import ASSIGNERS, counted

LIMITS = {"ATSS": (150, 4), "TAL": (150, 4), "O2F": (150, 4), "FCOS": (150, 4), "SimOTA": (350, 12)}


@pytest.mark.parametrize("count", [1, 40])
def test_assigners_keep_their_limits(count: int) -> None:
    inputs = Case("", 640, 640, STRIDES, (count,) * 16).draw()
    for name, (operations, waits) in LIMITS.items():
        seen = counted(lambda name=name: ASSIGNERS[name](*inputs, 0.5))  # type: ignore[misc]
        assert 0 < seen.operations.total() <= operations, (name, seen.operations)
        # On the CPU tolist() reads the sizes of the enumeration unseen: one wait more on a GPU.
        assert seen.waits.total() + 1 <= waits, (name, seen.waits)


def test_views_are_not_counted_and_waits_are() -> None:
    x = torch.arange(6.0)
    seen = counted(
        lambda: (x.view(2, 3).t()[0], x + 1, x[x > 2], x.nonzero(), float(x[0]), x.clone()[x.long()])
    )
    assert seen.operations["add"] == seen.operations["clone"] == 1
    assert "view" not in seen.operations
    assert "select" not in seen.operations
    assert seen.waits == {"index": 1, "nonzero": 1, "_local_scalar_dense": 1}
    repeats = torch.tensor([1, 2])
    assert counted(lambda: torch.repeat_interleave(repeats)).waits.total() == 1
    assert counted(lambda: torch.repeat_interleave(repeats, output_size=3)).waits.total() == 0
