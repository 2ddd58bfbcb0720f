"""The step of an accumulation, by its formula in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from detector.criterion import Criterion
from engine.trainer import train

Compose = Callable[..., DictConfig]
FIELDS = ("logits_BPC", "distances_BP4", "quality_BP")


def test_a_step_is_the_mean_of_its_batches_and_the_last_group_counts_its_own(
    tiny_run: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3 batches in groups of 2: the gradients of the outputs are 1/2, 1/2 and 1/1 of those of each batch."""
    batches: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
    original = Criterion.__call__

    def watched(self: Criterion, outputs: Any, truth: Any, assignment: Any) -> Any:
        wide = {name: getattr(outputs, name).detach().double().requires_grad_() for name in FIELDS}
        wide_truth = replace(truth, boxes_G4=truth.boxes_G4.double())
        losses = original(self, replace(outputs, **wide), wide_truth, assignment)
        gradients = torch.autograd.grad(sum(losses.values()), list(wide.values()))
        found: dict[str, Tensor] = {}
        batches.append((dict(zip(FIELDS, gradients, strict=True)), found))
        for name in FIELDS:
            getattr(outputs, name).register_hook(lambda gradient, name=name: found.update({name: gradient}))
        return original(self, outputs, truth, assignment)

    monkeypatch.setattr(Criterion, "__call__", watched)
    train(tiny_run("schedule.accumulate=2", "schedule.epochs=1"))
    assert len(batches) == 3
    for (expected, found), share in zip(batches, (0.5, 0.5, 1.0), strict=True):
        for name in FIELDS:
            scale = float(expected[name].abs().max())
            assert scale > 0
            torch.testing.assert_close(
                found[name].double(), share * expected[name], rtol=1e-4, atol=1e-6 * scale
            )
