"""Checkpoints: written atomically, read without running code, and naming what does not fit."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.config.compose import completed
from engine.run.directory import require_checkpoint
from errors import UsageError

VERSION = 1
# What every checkpoint holds, best.pt among them.
NEEDED = ("config", "classes", "epoch", "weights")


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes beside the target and renames, so that a crash leaves the old file or the new, never half."""
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            torch.save({"version": VERSION, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}. Free space or choose runs_dir=DIR"
        ) from error


def load(path: Path) -> dict[str, Any]:
    """The state that `save` wrote, on the CPU.

    Raises:
        UsageError: if the file is missing, damaged, or no checkpoint of this project.
    """
    require_checkpoint(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of anything makes torch.load raise nearly anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"{path} cannot be read as a checkpoint ({reason}): it is damaged or of another kind"
        ) from error
    version = state.get("version") if isinstance(state, dict) else None
    if not isinstance(version, int) or "config" not in state:
        raise UsageError(f"{path} is not a checkpoint of this project: it was written by something else")
    if version > VERSION:
        raise UsageError(
            f"{path} is a checkpoint of format {version}, written by a later version that this one cannot "
            f"read (it knows {VERSION}): update this project"
        )
    require(state, NEEDED, path, "train anew")
    return {**state, "config": completed(state["config"])}


def require(state: dict[str, Any], keys: Iterable[str], path: Path, remedy: str) -> None:
    """Raises UsageError if a checkpoint of an earlier version lacks what is needed."""
    missing = [key for key in keys if key not in state]
    if missing:
        raise UsageError(f"{path} was written by an earlier version, it lacks {', '.join(missing)}: {remedy}")


def load_weights(model: nn.Module, weights: dict[str, Any], path: Path) -> None:
    """Loads weights strictly.

    Raises:
        UsageError: listing the first tensors that are missing, unknown or of another shape.
    """
    problems = misfits(model, weights)
    if problems:
        raise UsageError(
            f"{path} does not fit the model, {listed(problems)}\n"
            "Use the model and data it was trained with, or train anew with overwrite=true"
        )
    model.load_state_dict(weights)


def misfits(model: nn.Module, weights: dict[str, Any]) -> list[str]:
    """What keeps weights from being loaded: each tensor that is missing, unknown or of another shape."""
    own = model.state_dict()
    problems = [f"missing {name}" for name in own if name not in weights]
    problems += [f"unknown {name}" for name in weights if name not in own]
    problems += [
        f"{name} is {tuple(weights[name].shape)}, the model has {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    return problems


def listed(problems: list[str]) -> str:
    """The number of tensors and the first of them, one a line."""
    return "\n  ".join([f"{len(problems)} tensors:", *problems[:6]])


def random_state() -> dict[str, Any]:
    """The state of torch's generators."""
    return {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Puts the generators back; the states of GPUs that are no longer there are dropped."""
    torch.set_rng_state(state["cpu"])
    for device, generator in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(generator, device)
