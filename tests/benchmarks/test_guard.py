"""The guard: every script runs tiny and gives ratios; what falls by more than a fifth is named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest
import torch

from benchmarks import guard
from detector.trained import read_checkpoint
from errors import UsageError

# Those that other files of this folder test run there.
ELSEWHERE = {
    "data.loading",
    "data.start",
    "evaluation.backends",
    "inference.deploy",
    "inference.select",
    "training.host",
    "training.memory",
    "training.step",
}
TINY = {
    "assigners.adapters": ("boxes=[2]", "images=1", "size=128", "repeats=1"),
    "assigners.speed": ('cases=["x16, 1 boxes"]', "assigners=[o2f]", "repeats=1"),
    "evaluation.bootstrap": ("images=8", "classes=3", "limit=12", "resamples=20"),
    "assigners.floor": ("case=x16, 1 boxes", "repeats=1"),
    "inference.fold": ("models=[picodet_s]", "images=1", "size=128", "repeats=1"),
    "assigners.launches": ("boxes=[1]",),
    "assigners.linear": ("boxes=[16,64]", "repeats=1"),
    "training.winograd": ("channels=[256]", "sides=[4,32]", "images=1", "repeats=1"),
    "assigners.share": ("batch=1", "size=64", "boxes=1", "assigners=[atss]", "repeats=1"),
}
# The first is a part of assigners.speed; the second needs images, the others a library or a long training.
NOT_GUARDED = {"assigners.measure", "inference.quantize", "peers.train_torchvision", "peers.train_yolo"}


def test_every_script_is_guarded_and_tested() -> None:
    files = (guard.ROOT / "benchmarks").glob("*/*.py")
    scripts = {f"{file.parent.name}.{file.stem}" for file in files if "__main__" in file.read_text()}
    assert scripts - NOT_GUARDED == set(guard.SMALL) == ELSEWHERE | set(TINY)


@pytest.mark.parametrize("script", TINY)
def test_every_script_gives_ratios(script: str, tmp_path: Path) -> None:
    import_module(f"benchmarks.{script}").main([*TINY[script], f"out={tmp_path}"])
    (file,) = tmp_path.glob("*.json")
    found = json.loads(file.read_text())["ratios"]
    assert found
    assert all(ratio > 0 for ratio in found.values())
    assert "\n|" in file.with_suffix(".md").read_text()


def test_a_process_of_its_own() -> None:
    found = guard.ratios("inference.select", ["images=[1]", "candidates=[3]", "repeats=1"])
    assert list(found) == ["NMS / NMS-free, 1 x 3", "NMS / NMS-free, window, 1 x 3"]
    with pytest.raises(RuntimeError, match=r"No module named benchmarks\.nothing"):
        guard.ratios("nothing", [])


def test_the_untrained_network_is_one_that_deploy_reads(tmp_path: Path) -> None:
    network, record = read_checkpoint(guard.untrained(tmp_path))
    network.eval()
    assert network(torch.zeros(1, 3, 64, 64)).logits_BPC.shape[2] == len(record.classes)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """What the next runs of a script will give."""
    queue: list[dict[str, float]] = []

    def ratios(script: str, words: Sequence[str]) -> dict[str, float]:
        return queue.pop(0)

    monkeypatch.setattr(guard, "ratios", ratios)
    return queue


def test_what_fell_is_named(
    tmp_path: Path, measured: list[dict[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    file = f"stored={tmp_path / 'ratios.json'}"
    measured.append({"a": 1.0, "b": 2.0, "c": 3.0})
    guard.main(["training.step", "store=true", file])
    stored = json.loads((tmp_path / "ratios.json").read_text())["ratios"]
    assert stored == {"training.step": {"a": 1, "b": 2, "c": 3}}
    measured += [{"a": 0.81, "b": 0.5}, {"a": 0.1, "b": 1.7}]
    guard.main(["training.step", file])  # the second run brings b back, and a was there in the first
    assert not measured
    assert "not measured here: training.step: c" in capsys.readouterr().out
    measured += [{"a": 1.0, "b": 1.5, "new": 1.0}] * 3
    with pytest.raises(SystemExit) as ended:
        guard.main(["training.step", file])
    assert ended.value.code == 1
    assert not measured
    assert capsys.readouterr().out.endswith("fell by more than a fifth:\n  training.step: b\n")


def test_storing_one_script_keeps_the_others(tmp_path: Path, measured: list[dict[str, float]]) -> None:
    file = tmp_path / "ratios.json"
    for script, ratio in (("training.step", 1.0), ("inference.select", 2.0), ("training.step", 3.0)):
        measured.append({"a": ratio})
        guard.main([script, "store=true", f"stored={file}"])
    assert json.loads(file.read_text())["ratios"] == {
        "training.step": {"a": 3.0},
        "inference.select": {"a": 2.0},
    }


def test_errors_of_the_user(tmp_path: Path) -> None:
    options = guard.Options(scripts=["steps"])
    with pytest.raises(UsageError, match="steps is not a script"):
        guard.bench(options)
    with pytest.raises(UsageError, match="store=true"):
        guard.bench(guard.Options(scripts=["training.step"], stored=str(tmp_path / "none.json")))
