"""The benchmark of quantised files, tiny: each can be run, detects, and has its row."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks.inference import quantize
from data.shapes.dataset import ShapesDataset
from tests.helpers.exported import trained


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three pictures, with their annotations beside it."""
    shapes, folder = ShapesDataset(3, 96, seed=0), tmp_path / "pictures"
    truth = shapes.coco_json()
    folder.mkdir()
    for place, image in enumerate(truth["images"]):
        image["file_name"] = f"{image['id']}.png"
        Image.fromarray(shapes[place].image.permute(1, 2, 0).numpy()).save(folder / image["file_name"])
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    return folder


@pytest.fixture
def settings() -> Iterator[None]:
    """Puts back what the benchmark sets."""
    threads, level = torch.get_num_threads(), logging.getLogger().level
    yield
    torch.set_num_threads(threads)
    logging.getLogger().setLevel(level)


def test_a_row_for_each_way(
    tmp_path: Path, pictures: Path, settings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = {"convolutions": quantize.VARIANTS["convolutions"]}
    monkeypatch.setattr(quantize, "VARIANTS", variants)
    words = [f"calibration={pictures}", f"source={pictures}", f"annotations={tmp_path}/truth.json"]
    words += ["images=2", "height=64", "width=96", "repeats=1", f"out={tmp_path}/out"]
    quantize.main([f"checkpoint={trained('centerness')[0]}", *words])
    report = json.loads((tmp_path / "out" / "quantize.json").read_text())
    assert [row["quantised"] for row in report["rows"]] == ["nothing", *variants]
    assert all(row["seconds"] > 0 and 0 <= row["AP"] <= 100 for row in report["rows"])
    assert list(report["ratios"]) == list(variants)


def test_calibration_gives_each_picture_once(pictures: Path) -> None:
    options = quantize.Options("", str(pictures), "", "", images=2, height=64, width=96)
    images = quantize.Images(options)
    first, second = images.get_next(), images.get_next()
    assert first is not None
    assert second is not None
    assert first["images"].shape == (1, 3, 64, 96)
    assert not torch.equal(*map(torch.from_numpy, (first["images"], second["images"])))
    assert images.get_next() is None
