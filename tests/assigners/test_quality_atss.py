"""QualityATSS against its oracle, and cases that a person can follow."""

from functools import partial

import pytest
import torch

from assigners import PointGrid, Predictions, QualityATSS
from tests.helpers.assigner_cases import CASES, truths
from tests.helpers.assigner_check import agree, rows
from tests.oracles.quality_atss import quality_atss


def test_agrees_with_the_oracle() -> None:
    agree(*CASES["quality-atss"])


@pytest.mark.parametrize(("topk", "alpha"), [(3, 0.5), (50, 1.0)])
def test_options_agree_with_the_oracle(topk: int, alpha: float) -> None:
    options = {"topk": topk, "alpha": alpha}
    agree(QualityATSS(**options), partial(quality_atss, **options), examples=25, decided=0.5)


def test_mean_and_deviation_count_the_empty_candidates() -> None:
    """One level of four points, IoU 1 everywhere, q = p: 0.9, 0.5, 0.1 and 0, mean 0.375, deviation 0.411."""
    grid = PointGrid.for_image(8, 32, (8,))
    box = [0.0, 0.0, 32.0, 8.0]
    predictions = Predictions(torch.tensor([[[0.9], [0.5], [0.1], [0.0]]]), torch.tensor(box).expand(1, 4, 4))
    assert list(rows(QualityATSS(alpha=0.0)(grid, predictions, truths([box])))) == [(0, 0)]
    # The best two alone: 0.9 and 0.5 with mean 0.7 and deviation 0.283, which nothing reaches.
    assert list(rows(QualityATSS(topk=2, alpha=0.0)(grid, predictions, truths([box])))) == []


@pytest.mark.parametrize(("options", "message"), [({"topk": 0}, "topk"), ({"alpha": 2.0}, "alpha")])
def test_impossible_options_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QualityATSS(**options)  # type: ignore[arg-type]
