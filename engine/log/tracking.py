"""Where the numbers go: metrics.jsonl always, wandb beside it where wanted and possible.

No failure of wandb or of the network ends a run.
"""

from __future__ import annotations

import json
import logging
import math
import netrc
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from omegaconf import DictConfig, OmegaConf

from engine import distributed
from engine.log.metrics import METRICS, read_metrics

log = logging.getLogger(__name__)


class Tracker:
    """Logs to `directory`/metrics.jsonl and to wandb.

    Args:
        directory: the run directory.
        config: the composed config, shown in wandb.
        logger: {wandb: bool, project: str, group: str | None}.
        step: lines after this step are dropped, since the run goes on from there.
        evaluated: evaluations after this epoch are dropped, since they are repeated.
    """

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Any],
        logger: Mapping[str, Any],
        step: int = 0,
        evaluated: int = 0,
    ):
        rows = read_metrics(directory) if step else []
        kept = [row for row in rows if row["step"] <= step and row.get("epoch", 0) <= evaluated]
        path = directory / METRICS
        path.write_text("".join(json.dumps(row) + "\n" for row in kept))
        self._file = path.open("a", buffering=1)
        self._wandb: Any = None
        if logger["wandb"]:
            self._safely(lambda: self._start_wandb(directory, config, logger))

    def _start_wandb(self, directory: Path, config: Mapping[str, Any], logger: Mapping[str, Any]) -> None:
        import wandb

        offline = "WANDB_MODE" not in os.environ and not has_api_key()
        self._wandb = wandb.init(
            project=logger["project"],
            group=logger["group"],
            name=directory.name,
            id=_wandb_id(directory),
            dir=str(directory),
            config=dict(config),
            resume="allow",
            mode="offline" if offline else None,
            settings=wandb.Settings(silent=True, console="off"),
        )
        if offline:
            log.info(
                "wandb is offline (no API key). To upload later: wandb sync %s/wandb/offline-run-*", directory
            )

    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        """One line of numbers; what is not finite is stored as null, since JSON has no NaN."""
        row: dict[str, Any] = {"step": step}
        row |= {
            key: value if value is not None and math.isfinite(value) else None
            for key, value in values.items()
        }
        self._file.write(json.dumps(row) + "\n")
        if self._wandb is not None:
            self._safely(lambda: self._wandb.log(row, step=step))

    def picture(self, step: int, name: str, path: Path) -> None:
        """Shows a picture that lies in the run directory."""
        if self._wandb is not None:
            import wandb

            self._safely(lambda: self._wandb.log({name: wandb.Image(str(path))}, step=step))

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        # Closed here, so that the second job of a sweep gets a run of its own.
        if self._wandb is not None:
            self._safely(lambda: self._wandb.finish(exit_code=int(error is not None)))

    def _safely(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:
            log.warning("wandb failed and is off for the rest of this run (metrics.jsonl goes on): %s", error)
            self._wandb = None


def open_tracker(directory: Path, config: DictConfig, step: int, evaluated: int) -> Tracker:
    """The tracker of a run that goes on after `step`; one that logs nothing where rank 0 does it."""
    if not distributed.is_main():
        return NoTracker()
    settings: Any = OmegaConf.to_container(config, resolve=True)
    return Tracker(directory, settings, config.logger, step, evaluated)


class NoTracker(Tracker):
    """Logs nothing."""

    def __init__(self) -> None:
        pass

    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        pass

    def picture(self, step: int, name: str, path: Path) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


def _wandb_id(directory: Path) -> str:
    """The id of the run, which a continued run finds in its directory.

    A name would do as an id only while it is one in the world: another clone, a colleague or overwrite=true
    would go on with the curves of an older run.
    """
    file = directory / "wandb" / "id.txt"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.write_text(uuid4().hex[:12])
    return file.read_text()


def has_api_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
