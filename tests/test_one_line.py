"""A command that the user got wrong ends with one line, which names what was probably meant."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from errors import UsageError, nearest

Compose = Callable[..., DictConfig]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("script", "word", "message"),
    [
        ("train.py", "assigner.topkk=3",
         "assigner.topkk=3: there is no key assigner.topkk (did you mean assigner.topk?)"),
        ("train.py", "schedule.epochs=ten", "schedule.epochs=ten must be "),
        ("eval.py", "rn=x", "rn=x: there is no key rn (did you mean run?)"),
        ("eval.py", "run=x", "x is not a run directory, it has no config.yaml"),
        ("predict.py", "chekpoint=x", "chekpoint=x: there is no key chekpoint (did you mean checkpoint?); "),
        ("export.py", "checkpoint=x", "no checkpoint at x: give the last.pt or best.pt of a run"),
    ],
)  # fmt: skip
def test_commands_end_with_one_line(command: Command, script: str, word: str, message: str) -> None:
    result = command(script, word)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("assigner=yolo", r"^assigner=yolo: there is no assigner/yolo; choose from atss, .*, tood$"),
        ("assigner=of2", r"no assigner/of2 \(did you mean o2f\?\); choose from"),
        ("schedule.epoch=3", r"^schedule\.epoch=3: .* \(did you mean schedule\.epochs\?\)$"),
        ("epochs=3", r"^epochs=3: there is no key epochs \(did you mean schedule\.epochs\?\)$"),
        ("assigner.topkk=3", r"no key assigner\.topkk \(did you mean assigner\.topk\?\)$"),
        ("modell=picodet_s", r"no key modell \(did you mean model\?\)$"),
        ("model.backbone.nam=x", r"\(did you mean model\.backbone\.name"),
        ("assigner.zzz=3", r"^assigner\.zzz=3: there is no key assigner\.zzz; --help lists all keys$"),
        ("lonely", r"^lonely: arguments are key=value$"),
        ("data.short=[1", r"^data\.short=\[1: .+$"),
        ("+seed=1", r"seed"),
    ],
)
def test_words_that_cannot_be_composed(tiny_run: Compose, word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as info:
        tiny_run(word)
    assert len(str(info.value).splitlines()) == 1


def test_keys_are_those_of_the_chosen_files(tiny_run: Compose) -> None:
    with pytest.raises(UsageError, match=r"no key assigner\.t_maxx \(did you mean assigner\.t_max\?\)"):
        tiny_run("assigner=o2f", "assigner.t_maxx=3")
    with pytest.raises(UsageError, match=r"no key assigner\.t_maxx; --help"):
        tiny_run("assigner=fcos", "assigner.t_maxx=3")


def test_the_last_part_of_a_name_decides() -> None:
    known = ["data.root", "data.name", "schedule.epochs", "schedule.lr", "eval.every"]
    assert nearest("dat.root", known) == ["data.root"]
    assert nearest("Epoch", known) == ["schedule.epochs"]
    assert nearest("data.lr", known)[0] == "schedule.lr"
    assert nearest("zebra", known) == []
    assert nearest("root", []) == []
