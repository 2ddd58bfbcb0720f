"""A peer's results become a row: the layout that it trains on, and the files that tools.compare reads."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from pycocotools.coco import COCO

from benchmarks.peers import train_torchvision
from benchmarks.peers.row import validation, write_row
from benchmarks.peers.train_yolo import main, yolo_layout
from data.augment.transforms import eval_transform
from data.coco.dataset import CocoDataset
from data.loader import eval_loader
from engine.config.compose import compose_config
from tools.compare.foreign import read_foreign


def test_the_layout_holds_every_box_as_centre_and_size_in_shares_of_the_image(
    tiny_coco: Path, tmp_path: Path
) -> None:
    yolo_layout(tiny_coco, tmp_path)
    coco = COCO(str(tiny_coco / "annotations" / "instances_train2017.json"))
    row_of = {category: row for row, category in enumerate(sorted(coco.cats))}
    boxes = 0
    for image in coco.imgs.values():
        label = (tmp_path / "labels" / "train" / image["file_name"]).with_suffix(".txt")
        found = sorted([float(number) for number in line.split()] for line in label.read_text().splitlines())
        sides = [image["width"], image["height"]]
        expected = []
        for one in coco.imgToAnns[image["id"]]:
            if not one["iscrowd"]:
                x, y, w, h = one["bbox"]
                pixels = (x + w / 2, y + h / 2, w, h)
                shares = [pixel / side for pixel, side in zip(pixels, sides * 2, strict=True)]
                expected.append([row_of[one["category_id"]], *shares])
        assert [row for own in found for row in own] == pytest.approx(
            [row for own in sorted(expected) for row in own], abs=1e-5
        )
        picture = tmp_path / "images" / "train" / image["file_name"]
        assert picture.read_bytes() == (tiny_coco / "train2017" / image["file_name"]).read_bytes()
        boxes += len(found)
    assert boxes > 0


def test_a_perfect_peer_has_an_ap_of_one(tiny_coco: Path, tmp_path: Path) -> None:
    truth = validation(tiny_coco)
    coco = COCO(str(truth.annotations))
    results = []
    for one in coco.anns.values():
        x, y, w, h = one["bbox"]
        place = truth.categories.index(one["category_id"])
        results.append(truth.result(one["image_id"], place, [x, y, x + w, y + h], 0.9))
    file = write_row("peer", "tiny", 3, {"nms": results, "nms_free": results}, truth, tmp_path / "peers")
    run = read_foreign(file)
    assert (run.config["name"], run.config["seed"], run.config["data"]["name"]) == ("peer", 3, "tiny")
    assert run.result["nms"]["AP"] == run.result["nms_free"]["AP"] == pytest.approx(100)


def test_without_ultralytics_the_remedy_is_told(
    tiny_coco: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(SystemExit) as ended:
        main([f"root={tiny_coco}", "data=tiny", "epochs=1"])
    assert "pip install ultralytics" in f"{ended.value}{capsys.readouterr()}"


def test_torchvision_trains_into_a_row(tiny_coco: Path, tmp_path: Path) -> None:
    words = "words=[model.backbone.name=lcnet_050,data.short=64,data.eval_short=64,data.workers=0]"
    train_torchvision.main(
        [f"root={tiny_coco}", "data=tiny", "epochs=1", "channels=64", words, f"out={tmp_path}"]
    )
    run = read_foreign(tmp_path / "torchvision-tiny-seed0.json")
    assert run.config["name"] == "torchvision"
    assert run.result["nms_free"]["AP"] is not None


def test_a_torchvision_network_sees_images_as_large_as_they_are() -> None:
    config = compose_config(
        "experiment=small", "model.backbone.name=lcnet_050", "model.backbone.weights=null"
    )
    network = train_torchvision.build(config, 32, 3).eval()
    images, _ = network.transform([torch.full((3, 48, 80), 0.5), torch.zeros(3, 64, 64)])
    assert images.image_sizes == [(48, 80), (64, 64)]
    assert images.tensors.shape == (2, 3, 64, 96)
    assert images.tensors[0, :, 0, 0].tolist() == pytest.approx([0.066, 0.196, 0.418], abs=0.01)


def test_detections_of_a_torchvision_network_are_in_pixels_of_the_files(tiny_coco: Path) -> None:
    truth = validation(tiny_coco)
    coco = CocoDataset(tiny_coco / "val2017", truth.annotations, eval_transform(48, 96))
    batches = list(eval_loader(coco, 2, 0))
    found = [
        {**own, "scores": torch.ones(len(own["labels"]))}
        for batch in batches
        for own in train_torchvision.targets(batch)
    ]
    answers = iter(found)

    class Knowing(torch.nn.Module):
        def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
            assert all(image.shape[1] > 0 and float(image.max()) <= 1 for image in images)
            return [next(answers) for _ in images]

    rows = train_torchvision.detections(Knowing(), batches, truth)  # type: ignore[arg-type]
    assert len(rows) == sum(len(own["labels"]) for own in found) > 0
    expected = sorted(
        (one["image_id"], *one["bbox"])
        for one in COCO(str(truth.annotations)).anns.values()
        if not one["iscrowd"]
    )
    for row, own in zip(sorted((row["image_id"], *row["bbox"]) for row in rows), expected, strict=True):
        assert row == pytest.approx(own, abs=0.01)
