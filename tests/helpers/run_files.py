"""What several tests of runs share: comparing the files of two of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from engine.log.metrics import read_metrics as lines

NAME = "shapes-fcos_lcnet-o2f-seed0"  # of the fixture `tiny_run`

# Weights after one step of plain SGD at rate 1 are the gradients; two batches of 4, shared, make that step.
# Batch norms are frozen, so that an image does not depend on its neighbours.
GRADIENTS = (
    "schedule.optimizer=sgd", "schedule.lr=1", "schedule.warmup_steps=0", "schedule.momentum=0",
    "schedule.weight_decay=0", "schedule.clip_norm=null", "schedule.ema=null", "schedule.decay=step",
    "schedule.accumulate=2", "schedule.epochs=1", "max_steps=2", "model.backbone.freeze_norm=all",
    "eval.score_threshold=0", "data.images.val=5", "eval.batch_size=2",
)  # fmt: skip

# Three steps of SGD on images of three sizes, whose batches have one canvas on any number of processes.
SCALES = (*GRADIENTS, "schedule.lr=0.02", "schedule.accumulate=1", "max_steps=3", "data.short=[32,64,96]",
          "data.long=96")  # fmt: skip


def repeatable(directory: Path) -> list[dict[str, Any]]:
    """The lines without times, and without the means of a window, which begins anew where a run is cut."""
    return [
        {
            key: value
            for key, value in line.items()
            if "seconds" not in key and not key.startswith("assign/") and "loss" not in key
        }
        for line in lines(directory)
    ]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def assert_same_run(a: Path, b: Path) -> None:
    first, second = (torch.load(path / "last.pt", weights_only=True) for path in (a, b))
    assert first.keys() == second.keys()
    for key in first.keys() - {"config"}:
        assert same(first[key], second[key]), f"{key} differs"
    assert repeatable(a) == repeatable(b)
    results = [json.loads((path / "eval.json").read_text()) for path in (a, b)]
    assert results[0]["nms"] == results[1]["nms"]
    assert (a / "predictions.json").read_text() == (b / "predictions.json").read_text()
