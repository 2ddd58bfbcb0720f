from __future__ import annotations

import multiprocessing
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from engine.run.interruption import Interruption
from engine.trainer import Trainer, train
from tests.helpers.run_files import NAME, assert_same_run

Compose = Callable[..., DictConfig]


# batch 2 of 3 in the first epoch, the last of it, the first of the second, the very last
@pytest.mark.parametrize("batch", [2, 3, 4, 6])
def test_a_continued_run_is_the_uninterrupted_one(
    whole: tuple[Path, float], tiny_run: Compose, stop_after: Callable[[int], None], batch: int
) -> None:
    config = tiny_run()
    directory = Path(config.runs_dir) / NAME
    stop_after(batch)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    state = torch.load(directory / "last.pt", weights_only=True)
    assert (state["epoch"], state["batch"]) == ((batch - 1) // 3, (batch - 1) % 3 + 1)
    assert not (directory / "eval.json").exists()
    torch.manual_seed(999)  # whatever else happened in between
    assert train(config) == whole[1]
    assert_same_run(whole[0], directory)


def test_an_accumulation_is_not_cut(tiny_run: Compose, stop_after: Callable[[int], None]) -> None:
    words = ("schedule.accumulate=2", "schedule.batch_size=2", "schedule.ema=null", "schedule.optimizer=sgd",
             "schedule.lr=0.01", "eval.every=1")  # fmt: skip
    whole, cut = tiny_run(*words, "name=whole"), tiny_run(*words, "name=cut")
    train(whole)
    stop_after(3)
    with pytest.raises(KeyboardInterrupt):
        train(cut)
    assert torch.load(Path(cut.runs_dir) / "cut" / "last.pt", weights_only=True)["batch"] == 4
    train(cut)
    assert_same_run(Path(whole.runs_dir) / "whole", Path(cut.runs_dir) / "cut")


def test_another_number_of_workers_may_continue(
    whole: tuple[Path, float], tiny_run: Compose, stop_after: Callable[[int], None]
) -> None:
    stop_after(2)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_run("data.workers=2"))
    config = tiny_run("data.workers=0")
    train(config)
    assert_same_run(whole[0], Path(config.runs_dir) / NAME)


def test_a_signal_to_the_workers_too_interrupts_after_saving(
    tiny_run: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Trainer._train_batch

    def signal_to_all(self: Trainer, *arguments: Any, **words: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        # From another process: a worker takes its parent's own signal for its end.
        subprocess.run(["kill", "-TERM", *worker_pids()], check=True)
        time.sleep(2)  # the end of a worker would be noticed at once
        return original(self, *arguments, **words)

    monkeypatch.setattr(Trainer, "_train_batch", signal_to_all)
    config = tiny_run("data.workers=1")
    with pytest.raises(KeyboardInterrupt):
        train(config)
    assert torch.load(Path(config.runs_dir) / NAME / "last.pt", weights_only=True)["batch"] == 1


def test_a_worker_that_ends_with_the_signal_interrupts(
    tiny_run: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signal_to_all(self: Trainer, *arguments: Any, **words: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        subprocess.run(["kill", "-KILL", *worker_pids()], check=True)
        time.sleep(10)  # the end of a worker is noticed at once
        pytest.fail("still there")

    monkeypatch.setattr(Trainer, "_train_batch", signal_to_all)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_run("data.workers=1"))


def worker_pids() -> list[str]:
    return [str(worker.pid) for worker in multiprocessing.active_children()]


def test_a_second_sigterm_changes_nothing() -> None:
    said: list[str] = []
    with Interruption(said.append) as interruption:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert interruption.asked
    assert len(said) == 1


def test_a_second_ctrl_c_ends_it_at_once(tiny_run: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(self: Trainer, *arguments: Any, **words: Any) -> None:
        # The handler itself is called: from a raised signal it may run inside somebody's garbage collection
        # callback, where an exception is lost.
        handler = signal.getsignal(signal.SIGINT)
        assert callable(handler)
        handler(signal.SIGINT, None)
        handler(signal.SIGINT, None)
        pytest.fail("still there")

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Trainer, "_train_batch", twice)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_run())
    assert signal.getsignal(signal.SIGINT) is before
