"""Reads finished runs from their directories; what is not finished is named and left out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from engine.run import read_config
from errors import UsageError
from evaluation.results import PREDICTIONS


@dataclass(frozen=True)
class FinishedRun:
    """A run with its result.

    Attributes:
        config: config.yaml as a plain dict.
        result: eval.json.
        lines: metrics.jsonl, in the order of training.
    """

    path: Path
    config: dict[str, Any]
    result: dict[str, Any]
    lines: tuple[dict[str, Any], ...]

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @cached_property
    def training_seconds(self) -> float | None:
        """Of all batches: waiting for data and working on them, without evaluations and checkpoints."""
        parts = [self._total(f"train/{part}_seconds") for part in ("data", "step")]
        return None if None in parts else sum(part for part in parts if part is not None)

    def _total(self, key: str) -> float | None:
        """The sum of a counter that starts anew with every epoch, and where a run was continued."""
        total, last, epoch = 0.0, None, 0
        for line in self.lines:
            if line.get(key) is None:
                continue
            now = ceil(line["train/epoch"])
            if last is not None and (now != epoch or line[key] < last):
                total += last
            last, epoch = line[key], now
        return None if last is None else total + last


def find(words: Sequence[str]) -> tuple[list[FinishedRun], dict[str, str]]:
    """The finished runs of these directories, each of which is a run or a folder of runs.

    Returns:
        The runs, each once, and for each directory or file left out the reason.

    Raises:
        UsageError: if a path does not exist, no finished run is there, or one is damaged or incomplete.
    """
    if not words:
        raise UsageError("nothing to compare: give run directories, such as runs/shapes-*, or their folder")
    places: dict[Path, None] = {}
    for path in map(Path, words):
        if not path.exists():
            raise UsageError(f"{path} does not exist: give run directories, or the folder that holds them")
        is_run = (path / "config.yaml").exists()
        inside = [] if is_run else sorted(file.parent for file in path.glob("*/config.yaml"))
        places |= dict.fromkeys(inside or [path])
    runs, left_out = [], {}
    for path in places:
        reason = _unfinished(path)
        if reason is None:
            runs.append(read(path))
        else:
            left_out[str(path)] = reason
    if not runs:
        reasons = "".join(f"\n  {path}: {reason}" for path, reason in left_out.items())
        raise UsageError(f"nothing to compare, no finished run is there:{reasons}")
    return runs, left_out


def read(path: Path) -> FinishedRun:
    """One finished run.

    Raises:
        UsageError: if a file of it is missing or damaged.
    """
    missing = [name for name in (*PREDICTIONS.values(), "metrics.jsonl") if not (path / name).is_file()]
    if missing:
        remedy = f"python eval.py run={path}" if missing != ["metrics.jsonl"] else "copy it from the original"
        raise UsageError(f"{path} lacks {', '.join(missing)}: {remedy}")
    config: Any = OmegaConf.to_container(read_config(path), resolve=True)
    result = _json(path / "eval.json")
    if not all(isinstance(result.get(name), dict) for name in PREDICTIONS):
        raise UsageError(f"{path / 'eval.json'} holds no result: python eval.py run={path} writes it anew")
    return FinishedRun(path, config, result, tuple(_lines(path / "metrics.jsonl")))


def _unfinished(path: Path) -> str | None:
    """Why this is no finished run, or None if it is one."""
    if not (path / "config.yaml").is_file():
        return "not a run directory, it has no config.yaml"
    if not (path / "eval.json").is_file():
        return "unfinished, it has no eval.json; its own train.py command continues it"
    epochs = OmegaConf.select(read_config(path), "schedule.epochs")
    done = _json(path / "eval.json").get("epoch")
    return None if done == epochs else f"unfinished, evaluated after epoch {done} of {epochs}"


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        remedy = f"python eval.py run={file.parent} writes it anew"
        raise UsageError(f"{file} is damaged, it is not JSON: {error}. {remedy}") from error


def _lines(file: Path) -> list[dict[str, Any]]:
    """The complete lines, as engine.tracking reads them."""
    lines = [line for line in file.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
    return [json.loads(line) for line in lines]


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
