"""A run that ends during an evaluation makes that evaluation again when it is continued."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from engine.evaluator import Evaluator
from engine.trainer import Trainer, train
from tests.helpers.run_files import assert_same_run, lines, same

Compose = Callable[..., DictConfig]
WORDS = ("eval.every=1", "eval.batch_size=1", "schedule.ema=null")


class Killed(BaseException):
    """What no handler catches, as a process that is killed."""


@pytest.fixture(scope="module")
def undisturbed(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.helpers.tiny_run import TINY_RUN

    config = composed(*TINY_RUN, *WORDS, "name=one", f"runs_dir={tmp_path_factory.mktemp('undisturbed')}")
    train(config)
    return Path(config.runs_dir) / "one"


def assert_continues(config: DictConfig, undisturbed: Path) -> None:
    directory = Path(config.runs_dir) / "one"
    train(config)
    assert_same_run(undisturbed, directory)
    assert [line["step"] for line in lines(directory)] == [line["step"] for line in lines(undisturbed)]
    first, second = (torch.load(path / "best.pt", weights_only=True) for path in (undisturbed, directory))
    assert first["epoch"] == second["epoch"]
    assert same(first["weights"], second["weights"])


@pytest.mark.parametrize("evaluation", [1, 2])
def test_sigterm_is_looked_at_between_the_batches_of_an_evaluation(
    undisturbed: Path, tiny_run: Compose, monkeypatch: pytest.MonkeyPatch, evaluation: int
) -> None:
    config, seen = tiny_run(*WORDS, "name=one"), []
    original = Evaluator._detect

    def signalled(self: Evaluator, *arguments: Any) -> Any:
        seen.append(1)
        if len(seen) == 4 * (evaluation - 1) + 2:
            signal.raise_signal(signal.SIGTERM)
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "_detect", signalled)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    assert len(seen) == 4 * (evaluation - 1) + 2  # of 4 images
    assert_continues(config, undisturbed)


# Before an evaluation has a result, after its line is logged, after best.pt is written.
@pytest.mark.parametrize("place", ["_detect", "picture", "_save"])
def test_a_run_killed_in_its_first_evaluation_repeats_it(
    undisturbed: Path, tiny_run: Compose, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    config = tiny_run(*WORDS, "name=one")

    def killed(*arguments: Any, **words: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if place == "_detect":
            patch.setattr(Evaluator, "_detect", killed)
        elif place == "picture":
            patch.setattr("engine.trainer.draw_predictions", killed)
        else:
            evaluate = Trainer._evaluate

            def evaluated(self: Trainer, tracker: Any) -> None:
                evaluate(self, tracker)
                raise Killed

            patch.setattr(Trainer, "_evaluate", evaluated)
        with pytest.raises(Killed):
            train(config)
    assert_continues(config, undisturbed)
