from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from data.coco.dataset import CocoDataset
from data.shapes.dataset import ShapesDataset
from detector.detector import build_detector
from engine.log.pictures import TILE, draw_predictions

MODEL = {
    "backbone": {"name": "lcnet_050", "levels": [3, 4, 5]},
    "neck": {"channels": 16},
    "head": {"channels": 16, "convs": 1},
}
CPU = torch.device("cpu")


def picture(model: nn.Module, dataset: object, path: Path, count: int) -> torch.Tensor:
    draw_predictions(model, dataset, path, CPU, count)  # type: ignore[arg-type]
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)


def test_truths_are_above_and_predictions_below(tmp_path: Path) -> None:
    model = build_detector(MODEL, 8).train()
    dataset = ShapesDataset(3, 64, seed=0)
    image = picture(model, dataset, tmp_path / "new" / "a.png", 2)
    assert image.shape == (3, 2 * (TILE + 4) + 4, 2 * (TILE + 4) + 4)
    top, bottom = image[:, 4 : TILE + 4, 4 : TILE + 4], image[:, TILE + 8 : -4, 4 : TILE + 4]
    assert not torch.equal(top, bottom)  # an untrained detector is sure of nothing: no boxes below
    assert model.training


def test_an_untrained_detector_that_is_sure_of_everything_is_drawn(tmp_path: Path) -> None:
    model = build_detector(MODEL, 8)
    nn.init.constant_(model.head.class_out.bias, 3.0)  # type: ignore[arg-type]
    dataset = ShapesDataset(1, 64, seed=0)
    sure = picture(model, dataset, tmp_path / "sure.png", 1)
    nn.init.constant_(model.head.class_out.bias, -9.0)  # type: ignore[arg-type]
    unsure = picture(model, dataset, tmp_path / "unsure.png", 1)
    half = TILE + 6
    assert torch.equal(sure[:, :half], unsure[:, :half])
    assert not torch.equal(sure[:, half:], unsure[:, half:])


def test_images_of_all_shapes_and_without_boxes(tiny_coco: Path, tmp_path: Path) -> None:
    annotations = tiny_coco / "annotations" / "instances_val2017.json"
    dataset = CocoDataset(tiny_coco / "val2017", annotations)
    image = picture(build_detector(MODEL, 3), dataset, tmp_path / "a.png", 6)  # there are but 4
    assert image.shape[-1] == 4 * (TILE + 4) + 4
