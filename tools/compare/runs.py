"""A finished run, read from its directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from engine.log.metrics import METRICS, read_metrics
from engine.run.directory import read_config
from errors import UsageError
from evaluation.results import PREDICTIONS


@dataclass(frozen=True)
class FinishedRun:
    """A run with its result.

    Attributes:
        config: config.yaml as a plain dict.
        result: eval.json.
        lines: metrics.jsonl, in the order of training.
        predictions: the files of the detections of "nms" and "nms_free"; foreign results may lack one.
        truth_json: the ground truth of foreign results in COCO's format; a run builds its own.
    """

    path: Path
    config: dict[str, Any]
    result: dict[str, Any]
    lines: tuple[dict[str, Any], ...]
    predictions: Mapping[str, Path] = field(default_factory=dict)
    truth_json: dict[str, Any] | None = None

    @property
    def foreign(self) -> bool:
        """Whether these are results of another program."""
        return self.truth_json is not None

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @cached_property
    def training_seconds(self) -> float | None:
        """Of all batches: waiting for data and working on them, without evaluations and checkpoints."""
        parts = [self._total(f"train/{part}_seconds") for part in ("data", "step")]
        return None if None in parts else sum(part for part in parts if part is not None)

    def _total(self, key: str) -> float | None:
        """The sum of a counter that restarts with every epoch, and where a run was continued."""
        total, last, epoch = 0.0, None, 0
        for line in self.lines:
            if line.get(key) is None:
                continue
            now = ceil(line["train/epoch"])
            if last is not None and (now != epoch or line[key] < last):
                total += last
            last, epoch = line[key], now
        return None if last is None else total + last


def read(path: Path) -> FinishedRun:
    """One finished run.

    Raises:
        UsageError: if a file of it is missing or damaged.
    """
    missing = [name for name in (*PREDICTIONS.values(), METRICS) if not (path / name).is_file()]
    if missing:
        remedy = f"python eval.py run={path}" if missing != [METRICS] else "copy it from the original"
        raise UsageError(f"{path} lacks {', '.join(missing)}: {remedy}")
    config: Any = OmegaConf.to_container(read_config(path), resolve=True)
    result = read_json(path / "eval.json")
    if not all(isinstance(result.get(name), dict) for name in PREDICTIONS):
        raise UsageError(f"{path / 'eval.json'} holds no result: python eval.py run={path} writes it again")
    files = {selection: path / name for selection, name in PREDICTIONS.items()}
    return FinishedRun(path, config, result, tuple(read_metrics(path)), files)


def read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        remedy = f"python eval.py run={file.parent} writes it again"
        raise UsageError(f"{file} is damaged, it is not JSON: {error}. {remedy}") from error


def curve(run: FinishedRun, key: str) -> Mapping[float, float]:
    """A number over epochs: of the evaluation after each, or the mean over the lines of training in it."""
    values: dict[float, list[float]] = {}
    for line in run.lines:
        if line.get(key) is not None:
            epoch = line["epoch"] if "epoch" in line else ceil(line["train/epoch"])
            values.setdefault(float(epoch), []).append(line[key])
    # A run that was continued may have evaluated an epoch twice: the later one counts.
    return {
        epoch: found[-1] if "/AP" in key else sum(found) / len(found)
        for epoch, found in sorted(values.items())
    }
