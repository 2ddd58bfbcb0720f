"""Finds what a command line names: finished runs and foreign results; what is not finished is left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from engine.run.directory import read_config
from errors import UsageError
from tools.compare.foreign import read_foreign
from tools.compare.runs import FinishedRun, read, read_json


def find(words: Sequence[str]) -> tuple[list[FinishedRun], dict[str, str]]:
    """The finished runs of these directories, each a run or a folder of runs, and foreign results (.json).

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
        is_run = (path / "config.yaml").exists() or path.suffix == ".json"
        inside = [] if is_run else sorted(file.parent for file in path.glob("*/config.yaml"))
        places |= dict.fromkeys(inside or [path])
    runs, left_out = [], {}
    for path in places:
        if path.suffix == ".json":
            runs.append(read_foreign(path))
            continue
        reason = _unfinished(path)
        if reason is None:
            runs.append(read(path))
        else:
            left_out[str(path)] = reason
    if not runs:
        reasons = "".join(f"\n  {path}: {reason}" for path, reason in left_out.items())
        raise UsageError(f"nothing to compare, no finished run is there:{reasons}")
    return runs, left_out


def _unfinished(path: Path) -> str | None:
    """Why this is no finished run, or None if it is one."""
    if not (path / "config.yaml").is_file():
        return "not a run directory, it has no config.yaml"
    if not (path / "eval.json").is_file():
        return "unfinished, it has no eval.json; its own train.py command continues it"
    epochs = OmegaConf.select(read_config(path), "schedule.epochs")
    done = read_json(path / "eval.json").get("epoch")
    return None if done == epochs else f"unfinished, evaluated after epoch {done} of {epochs}"
