from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.log.metrics import read_metrics as lines
from engine.log.tracking import Tracker

OFF = {"wandb": False, "project": "tests", "group": None}
ON = {"wandb": True, "project": "tests", "group": "together"}


@pytest.fixture
def no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No API key, no ~/.netrc, and wandb's own files in a folder that goes away."""
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return


def test_every_call_is_one_line(tmp_path: Path) -> None:
    with Tracker(tmp_path, {}, OFF) as tracker:
        tracker.log(1, {"loss": 2.5})
        tracker.log(2, {"loss": 1.5, "lr": 0.1})
        assert len(lines(tmp_path)) == 2  # at once, not when it is closed
    assert lines(tmp_path) == [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 1.5, "lr": 0.1}]


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    with Tracker(tmp_path, {}, OFF) as tracker:
        tracker.log(1, {"a": math.nan, "b": math.inf, "c": None, "d": 0.0})
    assert lines(tmp_path) == [{"step": 1, "a": None, "b": None, "c": None, "d": 0.0}]
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_a_continued_run_drops_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"step": step, "loss": step}) + "\n" for step in (10, 20, 30, 40))
    (tmp_path / "metrics.jsonl").write_text(rows + '{"step": 50, "lo')  # killed while writing
    with Tracker(tmp_path, {}, OFF, step=20) as tracker:
        tracker.log(30, {"loss": -1.0})
    assert [(row["step"], row["loss"]) for row in lines(tmp_path)] == [(10, 10), (20, 20), (30, -1.0)]


def test_an_evaluation_that_will_be_repeated_is_dropped(tmp_path: Path) -> None:
    rows = [{"step": 3}, {"step": 3, "epoch": 1}, {"step": 6, "train/epoch": 2.0}, {"step": 6, "epoch": 2}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Tracker(tmp_path, {}, OFF, step=6, evaluated=1):
        pass
    assert lines(tmp_path) == rows[:3]


def test_a_new_run_starts_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 10}\nrubbish\n')
    with Tracker(tmp_path, {}, OFF):
        pass
    assert lines(tmp_path) == []


def test_a_wandb_that_does_not_start_never_ends_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**arguments: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("wandb.init", fail)
    with caplog.at_level(logging.WARNING), Tracker(tmp_path, {}, ON) as tracker:
        tracker.log(1, {"loss": 1.0})
        tracker.picture(1, "predictions", tmp_path / "absent.png")
    assert lines(tmp_path) == [{"step": 1, "loss": 1.0}]
    assert "no network" in caplog.text


class FakeRun:
    """A wandb run that breaks when it is told to."""

    def __init__(self, broken: bool = False) -> None:
        self.broken, self.logged, self.exit_code = broken, [], None

    def log(self, row: object, step: int) -> None:
        if self.broken:
            raise BrokenPipeError("lost")
        self.logged.append((row, step))

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


def test_a_wandb_that_breaks_is_off_for_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("wandb.init", lambda **arguments: FakeRun(broken=True))
    with caplog.at_level(logging.WARNING), Tracker(tmp_path, {}, ON) as tracker:
        for step in (1, 2, 3):
            tracker.log(step, {"loss": 1.0})
    assert len(lines(tmp_path)) == 3
    assert caplog.text.count("wandb failed") == 1


@pytest.mark.parametrize("crashed", [False, True])
def test_wandb_is_closed_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crashed: bool, no_key: None
) -> None:
    run, asked = FakeRun(), {}

    def init(**arguments: object) -> FakeRun:
        asked.update(arguments)
        return run

    monkeypatch.setattr("wandb.init", init)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    try:
        with Tracker(tmp_path, {"seed": 3}, ON) as tracker:
            tracker.log(1, {"loss": 1.0})
            if crashed:
                raise ValueError
    except ValueError:
        pass
    assert run.logged == [({"step": 1, "loss": 1.0}, 1)]
    assert run.exit_code == int(crashed)
    assert asked["config"] == {"seed": 3}
    assert asked["project"] == "tests"
    assert asked["group"] == "together"
    assert asked["mode"] is None


def test_the_id_of_a_run_is_its_own_and_kept_for_its_continuation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_key: None
) -> None:
    """Directories of one name, as in two clones, are two runs; overwrite=true removes wandb/."""
    asked = []
    monkeypatch.setattr("wandb.init", lambda **words: asked.append(words["id"]) or FakeRun())
    for place, step in (("one/runs", 0), ("one/runs", 5), ("two/runs", 0)):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        with Tracker(tmp_path / place, {}, ON, step):
            pass
    shutil.rmtree(tmp_path / "one" / "runs" / "wandb")
    with Tracker(tmp_path / "one" / "runs", {}, ON):
        pass
    first, continued, clone, overwritten = asked
    assert continued == first
    assert len({first, clone, overwritten}) == 3


def test_without_an_api_key_it_is_offline_and_says_how_to_sync(
    tmp_path: Path, no_key: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), Tracker(tmp_path, {"seed": 0}, ON) as tracker:
        tracker.log(1, {"loss": 1.0})
    assert f"wandb sync {tmp_path}/wandb/offline-run-*" in caplog.text
    assert "wandb failed" not in caplog.text
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert lines(tmp_path) == [{"step": 1, "loss": 1.0}]
