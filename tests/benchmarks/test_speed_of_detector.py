"""The scripts that time selection, training step and inference run, small, and write their tables."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import host, select, step
from detector.select import best_candidates
from tests.helpers.tiny_run import TINY_RUN


@pytest.mark.parametrize("candidates", [1, 40])
def test_drawn_predictions_have_so_many_candidates(candidates: int) -> None:
    grid, predictions = select.draw(2, candidates)
    found = best_candidates(predictions, grid)
    assert all(0.6 * candidates <= len(image) <= candidates for image in found)


def test_selection(tmp_path: Path) -> None:
    select.main(["images=[1,2]", "candidates=[3]", "repeats=1", f"out={tmp_path}"])
    report = json.loads((tmp_path / "select.json").read_text())
    rows = report["rows"]
    assert list(report["ratios"].values()) == [ratio for row in rows for ratio in row["ratios"].values()]
    assert [row["images"] for row in rows] == [1, 2]
    assert (tmp_path / "select.md").read_text().count("\n| ") == 4


def test_step(tmp_path: Path) -> None:
    words = ["images=1", "size=32", "boxes=1", "candidates=20", "repeats=1", "precisions=[float32]"]
    step.main([*words, f"out={tmp_path}"])
    report = json.loads((tmp_path / "step.json").read_text())
    rows = report["rows"]
    assert [row["name"] for row in rows if row["ratio"] in report["ratios"].values()][-3:] == [
        "matchpoint, NMS",
        "matchpoint, NMS-free",
        "matchpoint, NMS-free, norms not folded",
    ]
    assert [(row["kind"], row["name"]) for row in rows] == [
        ("training step", "torchvision"),
        ("training step", "matchpoint"),
        ("training step", "backbone and FPN alone"),
        ("inference", "torchvision, NMS"),
        ("inference", "matchpoint, NMS"),
        ("inference", "matchpoint, NMS-free"),
        ("inference", "matchpoint, NMS-free, norms not folded"),
    ]
    assert all(row["seconds"] > 0 for row in rows)
    assert rows[0]["ratio"] == 1


def test_host(tmp_path: Path) -> None:
    words = [
        "assigner=atss",
        *(word for word in TINY_RUN if not word.startswith(("logger", "schedule.epochs"))),
    ]
    host.main([f"words=[{','.join(words)}]", "steps=2", "repeats=1", f"out={tmp_path}"])
    report = json.loads((tmp_path / "host.json").read_text())
    (slow,), (fast,) = report["seconds"].values()
    assert 0 < fast < 60
    assert list(report["ratios"].values()) == [slow / fast]


@torch.inference_mode()
def test_both_networks_have_the_same_candidates() -> None:
    options = step.Options(images=1, size=64)
    images, truth = step.draw(options)
    ours, theirs = step.Ours(options, images, truth), step.Theirs(options, images, truth)
    step.set_thresholds(ours, theirs, 30)
    outputs = ours.model.eval()(ours.images)
    assert int((step.decode(outputs).scores_BPC > ours.threshold).sum()) == 30
    theirs.model.nms_thresh = 1.0
    assert len(theirs.infer(False)[0]["labels"]) == 30
