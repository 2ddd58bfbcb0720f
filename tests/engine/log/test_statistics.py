from __future__ import annotations

import pytest
import torch

from assigners.core.types import Assignment, GroundTruth
from engine.log.statistics import AssignmentStatistics


def batch(sides: list[float], truths: list[int], scores: list[float]) -> tuple[Assignment, GroundTruth]:
    boxes = torch.tensor([[0.0, 0.0, side, side] for side in sides]).reshape(-1, 4)
    truth = GroundTruth.from_list([(boxes, torch.zeros(len(sides), dtype=torch.long))])
    zeros, ones = torch.zeros(len(truths), dtype=torch.long), torch.ones(len(truths))
    points, truth_K = torch.arange(len(truths)), torch.tensor(truths, dtype=torch.long)
    return Assignment(zeros, points, truth_K, torch.tensor(scores), ones), truth


def test_shares_over_several_batches() -> None:
    statistics = AssignmentStatistics(torch.device("cpu"))
    statistics.update(*batch([10, 20, 50, 200], [0, 0, 2], [1.0, 0.5, 0.3]))
    statistics.update(*batch([10, 300], [0], [0.2]))
    values = statistics.read()
    assert values["assign/positives_per_truth"] == pytest.approx(4 / 6)
    assert values["assign/mean_score"] == pytest.approx(2.0 / 4)
    assert values["assign/starved"] == pytest.approx(3 / 6)
    assert values["assign/starved_small"] == pytest.approx(1 / 3)
    assert values["assign/starved_medium"] == 0.0
    assert values["assign/starved_large"] == 1.0


def test_reading_starts_anew() -> None:
    statistics = AssignmentStatistics(torch.device("cpu"))
    statistics.update(*batch([10], [0, 0], [1.0, 1.0]))
    assert statistics.read()["assign/positives_per_truth"] == 2.0
    statistics.update(*batch([10, 10], [], []))
    values = statistics.read()
    assert (values["assign/positives_per_truth"], values["assign/starved"]) == (0.0, 1.0)


def test_no_truths_no_division_by_zero() -> None:
    statistics = AssignmentStatistics(torch.device("cpu"))
    statistics.update(*batch([], [], []))
    values = statistics.read()
    assert values == {"assign/positives_per_truth": 0.0, "assign/mean_score": 0.0, "assign/starved": 0.0}


def test_the_edges_of_the_buckets_are_cocos() -> None:
    statistics = AssignmentStatistics(torch.device("cpu"))
    statistics.update(*batch([31.9, 33, 95.9, 96.1], [0, 2], [1.0, 1.0]))
    values = statistics.read()
    assert values["assign/starved_small"] == 0.0
    assert values["assign/starved_medium"] == 0.5
    assert values["assign/starved_large"] == 1.0
