"""The script that times a training step and inference runs, small, and writes its table."""

import json
from pathlib import Path

import torch

from benchmarks.training import step


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
