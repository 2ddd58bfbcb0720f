"""Run directories as training leaves them, written without training: drawn truths, detections near them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from data.shapes.dataset import ShapesDataset
from engine.evaluator import Evaluation
from evaluation.coco_metrics import evaluate
from evaluation.results import SELECTIONS
from evaluation.truth import Floats, Truth
from tests.helpers.tiny_run import TINY_RUN

IMAGES, SIZE = 12, 64
EPOCHS = 2


def write_run(composed: Any, root: Path, *words: str, noise: float = 0.05, copies: int = 1) -> Path:
    """A finished run of this command line.

    Args:
        noise: how far boxes lie from the truths, relative to their sides.
        copies: detections of each object, NMS-free; with NMS there is one.
    """
    config = composed(*TINY_RUN, f"data.images.val={IMAGES}", f"runs_dir={root}", *words)
    truth = ShapesDataset(IMAGES, SIZE, 0, config.data.crowd).coco_json()
    path = root / config.name
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    rng = np.random.default_rng(config.seed)
    free = detections(rng, truth, noise, copies)
    rows = {"nms": free[: len(free) // copies], "nms_free": free}
    index = Truth(truth)
    summary: dict[str, Any] = {name: evaluate(index, rows[name]) for name in SELECTIONS}
    summary["gap"] = round(summary["nms"]["AP"] - summary["nms_free"]["AP"], 4)
    summary |= {"images": IMAGES, "unreadable": 0, "inference_seconds": 0.6, "seconds": 1.0}
    facts = {"epoch": config.schedule.epochs, "name": config.name, "best": summary["nms_free"]["AP"]}
    Evaluation(summary, rows).write(path, **facts)
    lines = [line for epoch in range(config.schedule.epochs) for line in _epoch(config, summary, epoch)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def detections(rng: np.random.Generator, truth: dict[str, Any], noise: float, copies: int) -> Floats:
    """The truths moved, the first copy of each before all second ones."""
    rows = []
    for copy in range(copies):
        for annotation in truth["annotations"]:
            box = np.array(annotation["bbox"])
            moved = box + rng.normal(0, noise, 4) * np.tile(box[2:], 2)
            moved[2:] = np.maximum(moved[2:], 1)
            score = float(rng.uniform(0.3, 1)) * 0.9**copy
            rows.append([annotation["image_id"], *moved, score, annotation["category_id"]])
    return np.array(rows)


def _epoch(config: Any, summary: dict[str, Any], epoch: int) -> list[dict[str, Any]]:
    """Two lines of training, whose counters of seconds rise to 3 and 27, and one of the evaluation."""
    lines = []
    for half in (0.5, 1.0):
        line = {
            "step": 2 * epoch + int(2 * half), "train/cls_loss": 1.0 - 0.1 * epoch, "train/box_loss": 0.5,
            "train/loss": 1.5 - 0.1 * epoch, "train/lr": 1e-3, "train/epoch": epoch + half,
            "train/data_seconds": 3 * half, "train/step_seconds": 27 * half,
            "assign/positives_per_truth": 7.0, "assign/starved": 0.0,
        }  # fmt: skip
        if config.assigner.name == "o2f":
            line["assign/soft_target"] = 0.6 - 0.4 * epoch
        lines.append(line)
    done = {f"{name}/AP": summary[name]["AP"] * (epoch + 1) / config.schedule.epochs for name in SELECTIONS}
    return [*lines, {"step": 2 * epoch + 2, **done, "gap": summary["gap"], "epoch": epoch + 1}]
