"""One of the two processes of test_distributed.py: python two_ranks.py RANK DIR PORT...

Runs every scenario in turn and writes what each came to into DIR/<rank>.json. A group cannot be entered
again, so a scenario that ends it is followed by a group at the next port.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import engine.parts
import engine.trainer
from engine import distributed
from engine.config.compose import compose_config
from engine.evaluate import evaluate_checkpoint
from engine.trainer import Trainer, train
from errors import UsageError
from tests.helpers.run_files import GRADIENTS, SCALES
from tests.helpers.tiny_run import TINY_RUN

RANK, DIRECTORY, PORTS = int(sys.argv[1]), Path(sys.argv[2]), iter(sys.argv[3:])


def config(*words: str, name: str = "train") -> Any:
    return compose_config(*words, name=name)


def run(name: str, *words: str) -> float:
    return train(config(*TINY_RUN, f"runs_dir={DIRECTORY}", f"name={name}", *words))


def cut(name: str) -> None:
    """SIGTERM reaches rank 1 alone, during the second batch."""
    original, seen = Trainer._train_batch, [0]

    def counted(self: Trainer, *arguments: Any, **words: Any) -> Any:
        seen[0] += 1
        if RANK == 1 and seen[0] == 2:
            signal.raise_signal(signal.SIGTERM)
        return original(self, *arguments, **words)

    Trainer._train_batch = counted  # type: ignore[method-assign]
    try:
        run(name)
    finally:
        Trainer._train_batch = original  # type: ignore[method-assign]


def lost_disk() -> None:
    """Rank 1 alone cannot read the data."""
    original = engine.parts.build_dataset

    def failing(*arguments: Any) -> Any:
        if RANK == 1:
            raise UsageError("no data set on the second machine")
        return original(*arguments)

    engine.parts.build_dataset = failing
    try:
        run("lost")
    finally:
        engine.parts.build_dataset = original


def evaluate() -> float:
    words = (f"checkpoint={DIRECTORY}/gradients/last.pt", f"out={DIRECTORY}/evaluated", "device=cpu")
    return evaluate_checkpoint(config(*words, name="eval"))


SCENARIOS: dict[str, Callable[[], Any]] = {
    "gradients": lambda: run("gradients", *GRADIENTS),
    "scales": lambda: run("scales", *SCALES),
    "evaluated": evaluate,
    "static": lambda: run("static", *GRADIENTS, "schedule.accumulate=1", "speed.static_graph=true"),
    "plain": lambda: run("plain", *GRADIENTS, "schedule.accumulate=1"),
    "whole": lambda: run("whole"),
    "again": lambda: run("whole"),
    "cut": lambda: cut("cut"),
    "continued": lambda: run("cut"),
    "cut for one": lambda: cut("for_one"),
    "lost": lost_disk,
    "unequal": lambda: run("unequal", "schedule.batch_size=5"),
    "explodes": lambda: run(
        "explodes", "schedule.lr=1e30", "schedule.optimizer=sgd", "schedule.clip_norm=null"
    ),
}


def main() -> None:
    os.environ |= {
        "RANK": str(RANK),
        "LOCAL_RANK": str(RANK),
        "WORLD_SIZE": "2",
        "TORCHELASTIC_RUN_ID": "test",
    }
    engine.trainer.AGREE_EVERY = 1  # of few steps
    outcomes: dict[str, Any] = {}
    for name, scenario in SCENARIOS.items():
        if not dist.is_initialized():
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": next(PORTS)}
        torch.manual_seed(RANK)  # whatever was drawn before
        try:
            outcomes[name] = scenario()
        except (UsageError, KeyboardInterrupt, SystemExit) as error:
            outcomes[name] = f"{type(error).__name__}: {error}"
    distributed.leave()
    (DIRECTORY / f"{RANK}.json").write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main()
