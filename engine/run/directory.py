"""The run directory: where a run lives, whether it is new, interrupted or finished.

runs/<data>-<model>-<assigner>-seed<k>/
    config.yaml  metrics.jsonl  last.pt  best.pt  eval.json  predictions.json  predictions_nms.json  pictures/
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from omegaconf import DictConfig, OmegaConf

from engine.config.compose import ALL, completed, flatten
from errors import UsageError, listed

# Keys that cannot change the result of a run, so a run may continue with other values of them.
FREE = tuple(name for name, key in ALL.items() if key.free)
# All that a run writes, and the tools that explain it, as patterns.
CONTENT = ("config.yaml", "metrics.jsonl", "last.pt", "best.pt", "last.eval", "best.eval", "eval.json",
           "errors.json", "predictions*.json", "pictures", "wandb")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A directory that is ready to be written.

    Attributes:
        resumed: an interrupted run of the same config lies in it.
        result: the content of eval.json if the run is finished, else None.
    """

    path: Path
    resumed: bool
    result: dict[str, Any] | None

    @property
    def last(self) -> Path:
        return self.path / "last.pt"

    @property
    def best(self) -> Path:
        return self.path / "best.pt"


def run_directory(config: DictConfig) -> Path:
    """The directory of this config, made if it is not there.

    Raises:
        UsageError: if it cannot be written.
    """
    path = Path(config.runs_dir) / str(config.name)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"the run directory {path} cannot be written ({error.strerror}): "
            "choose another place with runs_dir=DIR"
        ) from error
    return path


def open_run(config: DictConfig) -> Run:
    """Creates or finds the directory of this config. What lies in it stays as it is until `begin`.

    Raises:
        UsageError: if it cannot be written, or holds a run of another config.
    """
    path = run_directory(config)
    plain = OmegaConf.to_container(config, resolve=True)
    if config.overwrite:
        return Run(path, resumed=False, result=None)
    if (path / "config.yaml").exists():
        difference = differences(OmegaConf.to_container(read_config(path), resolve=True), plain)
        if difference:
            listed = "\n  ".join(difference)
            raise UsageError(
                f"{path} holds a run of another config:\n  {listed}\n"
                "Give this one its own name=NAME, or start anew with overwrite=true"
            )
    result = None
    if (path / "eval.json").exists():
        stored_result = json.loads((path / "eval.json").read_text())
        result = stored_result if stored_result.get("epoch") == config.schedule.epochs else None
    return Run(path, (path / "last.pt").exists(), result)


def begin(run: Run, config: DictConfig) -> None:
    """Makes the directory that of this config: to be called once everything is checked.

    A new run takes the place of an older one, so that a wrong value beside overwrite=true costs nothing.
    Files that no run wrote are left alone.
    """
    if not run.resumed:
        for path in (path for pattern in CONTENT for path in run.path.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        write_text(run.path / "config.yaml", OmegaConf.to_yaml(config, resolve=True))


def checkpoint_file(options: DictConfig) -> Path:
    """The checkpoint that the options of eval.py name.

    Raises:
        UsageError: if they name none, or one that is not there.
    """
    if options.run is None and options.checkpoint is None:
        raise UsageError("nothing to evaluate: give run=runs/NAME or checkpoint=FILE")
    if options.run is not None:
        read_config(Path(options.run))  # names the runs that are there if this is none
    path = Path(options.checkpoint) if options.checkpoint else Path(options.run) / "last.pt"
    require_checkpoint(path)
    return path


def require_checkpoint(path: Path) -> None:
    """Raises UsageError if there is no such file."""
    if not path.is_file():
        raise UsageError(f"no checkpoint at {path}: give checkpoint=FILE, or run=DIR of a run with last.pt")


def read_config(path: Path) -> DictConfig:
    """The config of a run directory; a key that a later version added has its default."""
    file = path / "config.yaml"
    if not file.is_file():
        known = sorted(p.parent.name for p in path.parent.glob("*/config.yaml"))
        there = f"; runs there: {listed(known, 8)}" if known else ""
        raise UsageError(f"{path} is not a run directory, it has no config.yaml{there}")
    try:
        config = OmegaConf.load(file)
    except Exception as error:  # the readers of YAML raise many kinds
        raise UsageError(f"{file} is damaged, it is not YAML: {error}. overwrite=true starts anew") from error
    if not isinstance(config, DictConfig):
        raise UsageError(f"{file} is damaged, it holds no config. overwrite=true starts anew")
    plain: Any = OmegaConf.to_container(config)
    return OmegaConf.create(completed(plain))


def differences(stored: Any, asked: Any) -> list[str]:
    """One line per key that differs, the free ones left out.

    An option of an assigner that a later version added counts as given with the default of its class.
    """
    old, new = flatten(stored), flatten(asked)
    old |= {key: new[key] for key in new.keys() - old.keys() if _is_default(key, old, new[key])}
    lines = []
    for key in sorted(old.keys() | new.keys()):
        free = any(key == name or key.startswith(name + ".") for name in FREE)
        if not free and old.get(key) != new.get(key):
            lines.append(f"{key}: {old.get(key, 'absent')} in the run, {new.get(key, 'absent')} asked for")
    return lines


def _is_default(key: str, flat: dict[str, Any], value: Any) -> bool:
    """Whether the value is what the class that a flat config names takes where this option is not given."""
    part, _, option = key.rpartition(".")
    target = flat.get(f"{part}._target_")
    if target is None:
        return False
    parameter = signature(resolve_name(target)).parameters.get(option)
    return parameter is not None and parameter.default == value


def write_text(path: Path, text: str) -> None:
    """Writes a whole file or nothing."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file or nothing."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)
