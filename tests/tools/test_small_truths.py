"""The table of small truths: shares by counting, and that RFLA leaves none."""

import torch

from assigners import ATSS, FCOS, RFLA
from tools.small_truths import ASSIGNERS, SIDES, positives, table


def test_counts_and_table() -> None:
    assert int(positives(RFLA(), 2, count=40).min()) == 3
    count_G = positives(FCOS(), 4, count=400)
    # A point of stride 8 lies inside a square of 4 px with probability (4 / 8)^2; coarser points add little.
    assert 0.2 < (count_G > 0).float().mean() < 0.32
    assert torch.equal(positives(ATSS(), 4, count=50), positives(ATSS(), 4, count=50))
    lines = table().splitlines()
    assert len(lines) == 2 + len(ASSIGNERS)
    assert all(line.count("|") == len(SIDES) + 2 for line in lines)
