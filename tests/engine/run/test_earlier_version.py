"""A checkpoint of an earlier version goes on loading: to be evaluated, continued, and to start from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from engine.evaluate import evaluate_checkpoint
from engine.log.metrics import read_metrics
from engine.run import checkpoint
from engine.run.directory import write_text
from engine.trainer import train
from errors import UsageError
from tests.engine.run.files.make_checkpoint import WORDS

Compose = Callable[..., DictConfig]
FILE = Path(__file__).parent / "files" / "last_v1.pt"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The directory of the run that the checkpoint belongs to, as that version left it."""
    directory = tmp_path / "runs" / "older"
    directory.mkdir(parents=True)
    shutil.copy(FILE, directory / "last.pt")
    plain = torch.load(FILE, weights_only=True)["config"]
    write_text(directory / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(plain)))
    return directory


def test_it_is_continued_by_the_same_command(
    run: Path, composed: Compose, capsys: pytest.CaptureFixture[str]
) -> None:
    train(composed(*WORDS, f"runs_dir={run.parent}"))
    assert f"continuing {run} at epoch 1, batch 0" in capsys.readouterr().out
    assert json.loads((run / "eval.json").read_text())["epoch"] == 2
    assert checkpoint.load(run / "last.pt")["step"] == 2


def test_it_is_evaluated(run: Path, composed: Compose) -> None:
    evaluate_checkpoint(composed(f"run={run}", "device=cpu", name="eval"))
    assert json.loads((run / "eval.json").read_text())["images"] == 2


def test_a_run_starts_from_it(run: Path, composed: Compose, capsys: pytest.CaptureFixture[str]) -> None:
    train(composed(*WORDS, "name=other", f"runs_dir={run.parent}", f"init={run}/last.pt"))
    assert "starting from" in capsys.readouterr().out


def changed(run: Path, **values: Any) -> None:
    state = torch.load(run / "last.pt", weights_only=True) | values
    torch.save({key: value for key, value in state.items() if value is not None}, run / "last.pt")


def test_what_an_earlier_version_did_not_save_is_named(run: Path, composed: Compose) -> None:
    changed(run, random=None, schedule=None)
    with pytest.raises(UsageError, match=r"last\.pt was written by an earlier version, it lacks schedule, "
                                         r"random: overwrite=true starts anew, init=FILE"):  # fmt: skip
        train(composed(*WORDS, f"runs_dir={run.parent}"))


def test_an_optimizer_of_other_parameters_is_named(run: Path, composed: Compose) -> None:
    optimizer = torch.load(run / "last.pt", weights_only=True)["optimizer"]
    optimizer["param_groups"][0]["params"].pop()
    changed(run, optimizer=optimizer)
    with pytest.raises(UsageError, match=r"last\.pt: the optimizer does not fit.*overwrite=true"):
        train(composed(*WORDS, f"runs_dir={run.parent}"))


def test_a_run_from_before_evaluations_were_repeated(run: Path, composed: Compose) -> None:
    changed(run, evaluated=None)
    train(composed(*WORDS, f"runs_dir={run.parent}"))
    evaluated = [line["epoch"] for line in read_metrics(run) if "epoch" in line]
    assert evaluated == [2]  # that of the first epoch was made by then
