"""Scheduled hands a batch to one of its two assigners."""

import pytest
import torch

from assigners import (
    ATSS,
    O2F,
    Assigner,
    Assignment,
    GroundTruth,
    PointGrid,
    Predictions,
    Scheduled,
    TaskAligned,
)
from tests.helpers.assigner_cases import CASES, GRID, crowded
from tests.helpers.assigner_check import agree, check_same


@pytest.mark.parametrize("progress", [0.0, 0.49, 0.5, 1.0])
def test_agrees_with_the_oracle(progress: float) -> None:
    agree(*CASES["tal-then-atss"], examples=25, progress=progress)


@pytest.mark.parametrize(
    ("switch", "progress", "first"),
    [(1 / 3, 0.0, True), (1 / 3, 0.33, True), (1 / 3, 1 / 3, False), (1 / 3, 1.0, False),
     (0.0, 0.0, False), (1.0, 0.99, True), (1.0, 1.0, False)],
)  # fmt: skip
def test_the_first_until_the_switch(switch: float, progress: float, first: bool) -> None:
    batch = crowded(seed=11)
    atss, tal = ATSS(score="iou"), TaskAligned()
    found = Scheduled(atss, tal, switch)(GRID, batch.predictions, batch.truth, progress)
    check_same(found, (atss if first else tal)(GRID, batch.predictions, batch.truth))


def test_progress_is_passed_on() -> None:
    batch = crowded(seed=12)
    found = Scheduled(ATSS(), O2F(), 0.25)(GRID, batch.predictions, batch.truth, 0.7)
    check_same(found, O2F()(GRID, batch.predictions, batch.truth, 0.7))


def test_only_one_of_the_two_is_called() -> None:
    class Fail(Assigner):
        def __call__(
            self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
        ) -> Assignment:
            raise AssertionError

    batch = crowded()
    Scheduled(Fail(), ATSS(), 0.5)(GRID, batch.predictions, batch.truth, 0.5)
    Scheduled(ATSS(), Fail(), 0.5)(GRID, batch.predictions, batch.truth, 0.0)


@pytest.mark.parametrize("switch", [-0.1, 1.1, float("nan")])
def test_a_switch_outside_of_training_is_refused(switch: float) -> None:
    with pytest.raises(ValueError, match="switch must lie in 0 to 1"):
        Scheduled(ATSS(), TaskAligned(), switch)


def test_what_is_no_assigner_is_refused() -> None:
    with pytest.raises(ValueError, match="first and second must be assigners, got None"):
        Scheduled(ATSS(), None)  # type: ignore[arg-type]
    assert torch.is_tensor(Scheduled(ATSS(), ATSS())(GRID, crowded().predictions, crowded().truth).point_K)


def test_soft_targets_are_those_of_the_assigner_in_use() -> None:
    scheduled = Scheduled(ATSS(), O2F(), 0.25)
    assert scheduled.soft_target(0.2) is None
    assert scheduled.soft_target(0.5) == O2F().soft_target(0.5)
