from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from omegaconf import DictConfig

from engine.run.lock import NAME, locked
from engine.trainer import Trainer, train
from errors import UsageError
from tests.helpers.tiny_run import ROOT

HOLD = """
import sys, time
from pathlib import Path
from engine.run.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of `tmp_path`."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_directory_in_use_is_refused_and_a_crash_frees_it(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(UsageError) as info, locked(tmp_path):
        pytest.fail("two at once")
    for part in (str(tmp_path), f"process {holder.pid} on {socket.gethostname()} (since 20", "name=NAME"):
        assert part in str(info.value)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / NAME).exists()  # nobody removed it
    with pytest.raises(KeyboardInterrupt), locked(tmp_path):
        raise KeyboardInterrupt
    assert not (tmp_path / NAME).exists()


def test_a_lock_of_a_file_that_is_gone_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def lock(descriptor: int, how: int) -> None:
        if not taken:  # the last holder leaves just then
            (tmp_path / NAME).unlink()
        taken.append(descriptor)

    monkeypatch.setattr("engine.run.lock.fcntl.lockf", lock)
    with locked(tmp_path):
        assert len(taken) == 2
        assert str(os.getpid()) in (tmp_path / NAME).read_text()


def test_a_file_system_without_locks_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lock(descriptor: int, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("engine.run.lock.fcntl.lockf", lock)
    with locked(tmp_path):
        pass
    assert "No locks available" in caplog.text


def test_a_run_holds_its_directory_until_it_ends(
    tiny_run: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_run("max_steps=1", "schedule.epochs=1", "name=one")
    directory = Path(config.runs_dir) / "one"
    original, held = Trainer._train_batch, []

    def look(self: Trainer, *arguments: object) -> object:
        held.append((directory / NAME).exists())
        return original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "_train_batch", look)
    train(config)
    assert held == [True]
    assert not (directory / NAME).exists()
