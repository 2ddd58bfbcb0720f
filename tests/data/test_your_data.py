"""docs/your-data.md, command after command, on a small generated set."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.shapes.dataset import ShapesDataset
from engine.config.compose import compose_config
from engine.evaluate import evaluate_checkpoint
from engine.trainer import train
from tests.helpers.exported import TWO_LEVELS
from tests.helpers.tiny_run import ROOT

# A network and a schedule of seconds in place of the pretrained one.
SHORT = (
    *TWO_LEVELS, "model.backbone.weights=null", "schedule.epochs=1", "schedule.batch_size=4",
    "data.workers=0", "data.short=64", "data.long=64", "data.eval_short=64", "data.eval_long=64",
    "eval.score_threshold=0", "logger=none", "device=cpu",
)  # fmt: skip


def photographs(folder: Path) -> None:
    """Drawn shapes with YOLO labels, all in one folder, as a labelling program leaves them."""
    folder.mkdir()
    data = ShapesDataset(12, 64, seed=5)
    for row, sample in enumerate(data):
        Image.fromarray(sample.image.permute(1, 2, 0).numpy()).save(folder / f"{row}.jpg", quality=95)
        centers = (sample.boxes_N4[:, :2] + sample.boxes_N4[:, 2:]) / 128
        sides = (sample.boxes_N4[:, 2:] - sample.boxes_N4[:, :2]) / 64
        rows = np.concatenate((sample.labels_N[:, None].numpy(), centers.numpy(), sides.numpy()), axis=1)
        lines = [" ".join([str(int(row[0])), *(f"{value:.6f}" for value in row[1:])]) for row in rows]
        (folder / f"{row}.txt").write_text("\n".join(lines))
    (folder / "classes.txt").write_text("\n".join(data.class_names))


def commands() -> list[list[str]]:
    text = (ROOT / "docs" / "your-data.md").read_text()
    fences = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [shlex.split(line) for fence in fences for line in fence.splitlines()]


def run(words: list[str]) -> None:
    """One command of the page; training is shortened."""
    match words:
        case ["python", "train.py", *rest]:
            train(compose_config(*rest, *SHORT))
        case ["python", "eval.py", *rest]:
            evaluate_checkpoint(compose_config(*rest, "device=cpu", name="eval"))
        case ["python", "-m", module, *rest]:
            _main(f"{module}.__main__")(rest)
        case ["python", script, *rest]:
            _main(script.removesuffix(".py"))(rest)
        case _:
            raise AssertionError(f"no command of this project: {words}")


def _main(module: str) -> Callable[[list[str]], None]:
    return import_module(module).main


def test_the_page_leads_from_photographs_to_a_detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    photographs(tmp_path / "photos")
    found = commands()
    assert len(found) == 8
    for words in found:
        run(words)
    directory = tmp_path / "runs" / "mine-fcos_mobilenet-o2f-seed0"
    assert json.loads((directory / "eval.json").read_text())["images"] == 2
    assert {path.name for path in (tmp_path / "runs" / "check" / "mine").iterdir()} == {
        "train.jpg",
        "val.jpg",
    }
    rows = [json.loads((tmp_path / own / "predictions.json").read_text()) for own in ("found", "found-onnx")]
    assert len(rows[0]) == len(rows[1])
