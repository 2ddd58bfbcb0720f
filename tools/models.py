"""The size of every model of configs/model, as a Markdown table: python -m tools.models

Of COCO's 80 classes, without a quality branch; docs/models.md shows the table and explains it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from detector.detector import build_detector
from detector.summary import multiply_adds, parameters
from engine.config.compose import compose_config

CONFIGS = Path(__file__).parents[1] / "configs" / "model"
SIZES = ((320, 320), (416, 416), (800, 1344))  # height, width
CLASSES = 80


def table(names: Sequence[str], sizes: Sequence[tuple[int, int]] = SIZES) -> str:
    """One row per model: millions of parameters, and billions of multiply-adds at each size."""
    columns = ["model", "parameters, M", *(f"multiply-adds, G, at {h}x{w}" for h, w in sizes)]
    lines = [_row(columns), _row(["---"] * len(columns))]
    for name in names:
        config: Any = OmegaConf.to_container(_composed(name), resolve=True)
        config["backbone"]["weights"] = None
        with torch.device("meta"):  # no data: the weights are not read
            detector = build_detector(config, CLASSES)
        counts = [multiply_adds(detector, *size) / 1e9 for size in sizes]
        lines.append(_row([name, f"{parameters(detector) / 1e6:.2f}", *(f"{n:.2f}" for n in counts)]))
    return "\n".join(lines)


def _composed(name: str) -> DictConfig:
    model = compose_config(f"model={name}").model
    if model.head.kind != "task_aligned":  # the alignment is part of that head
        model.head.quality = "none"
    return model


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(table(sorted(file.stem for file in CONFIGS.glob("*.yaml"))))
