"""Labelled folders in other formats become the COCO-format set that they were made of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.coco.dataset import CocoDataset
from data.convert.__main__ import main
from data.convert.boxes import sv

FORMATS = ("yolo", "voc", "labelme", "createml")
EMPTY_COCO = '{"images": [], "annotations": [], "categories": []}'


def content(root: Path, split: str) -> dict[str, Any]:
    return json.loads((root / "annotations" / f"instances_{split}2017.json").read_text())


@pytest.fixture
def coco(tiny_coco: Path) -> Path:
    """`tiny_coco` without its crowds, which other formats do not have, with ids from 1."""
    for split in ("train", "val"):
        truth = content(tiny_coco, split)
        kept = [a for a in truth["annotations"] if not a["iscrowd"]]
        ids = {image["id"]: number for number, image in enumerate(truth["images"], start=1)}
        for annotation in kept:
            annotation["image_id"] = ids[annotation["image_id"]]
        for image in truth["images"]:
            image["id"] = ids[image["id"]]
        file = tiny_coco / "annotations" / f"instances_{split}2017.json"
        file.write_text(json.dumps(truth | {"annotations": kept}))
    return tiny_coco


def write(coco: Path, source: Path, kind: str, splits: tuple[str, ...] = ("train", "val")) -> None:
    """The set in another format: folders of the splits with images and labels in them."""
    for split in splits:
        dataset = sv.DetectionDataset.from_coco(
            str(coco / f"{split}2017"), str(coco / "annotations" / f"instances_{split}2017.json")
        )
        folder = source / split
        if kind == "yolo":
            dataset.as_yolo(str(folder / "images"), str(folder / "labels"), str(source / "data.yaml"))
        elif kind == "voc":
            dataset.as_pascal_voc(str(folder / "JPEGImages"), str(folder / "Annotations"))
        elif kind == "labelme":
            dataset.as_labelme(str(folder), str(folder))
        else:
            dataset.as_createml(str(folder), str(folder / "_annotations.createml.json"))


def rows(truth: dict[str, Any]) -> dict[str, list[tuple[str, list[float]]]]:
    """The boxes of each file as (class name, corners)."""
    names = {category["id"]: category["name"] for category in truth["categories"]}
    found: dict[str, list[tuple[str, list[float]]]] = {image["file_name"]: [] for image in truth["images"]}
    files = {image["id"]: image["file_name"] for image in truth["images"]}
    for a in truth["annotations"]:
        x, y, w, h = a["bbox"]
        found[files[a["image_id"]]].append((names[a["category_id"]], [x, y, x + w, y + h]))
    return found


def assert_same(found: dict[str, Any], expected: dict[str, Any], within: float = 0.6) -> None:
    ours, theirs = rows(found), rows(expected)
    assert ours.keys() == theirs.keys()
    for file in theirs:
        assert [name for name, _ in ours[file]] == [name for name, _ in theirs[file]]
        corners = [np.array([box for _, box in own[file]]).reshape(-1, 4) for own in (ours, theirs)]
        np.testing.assert_allclose(*corners, rtol=0, atol=within)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_round_trip_keeps_ids_classes_and_boxes(coco: Path, tmp_path: Path, kind: str) -> None:
    write(coco, tmp_path / kind, kind)
    order = ["classes=[car,train,toothbrush]"]
    main([f"source={tmp_path / kind}", f"out={tmp_path / 'out'}", *([] if kind == "yolo" else order)])
    for split in ("train", "val"):
        found, expected = content(tmp_path / "out", split), content(coco, split)
        assert_same(found, expected)
        assert [category["name"] for category in found["categories"]] == ["car", "train", "toothbrush"]
        assert [category["id"] for category in found["categories"]] == [1, 2, 3]
        for key in ("id", "file_name", "width", "height"):
            assert [image[key] for image in found["images"]] == [image[key] for image in expected["images"]]
        data = CocoDataset(
            tmp_path / "out" / f"{split}2017", tmp_path / "out/annotations" / f"instances_{split}2017.json"
        )
        assert len(data[1].boxes_N4) == 0, "a background image stays"


def test_classes_are_those_of_all_splits_in_the_order_of_the_alphabet(coco: Path, tmp_path: Path) -> None:
    truth = content(coco, "val")
    truth["annotations"] = [a for a in truth["annotations"] if a["category_id"] == 90]
    (coco / "annotations" / "instances_val2017.json").write_text(json.dumps(truth))
    write(coco, tmp_path / "voc", "voc")
    main([f"source={tmp_path / 'voc'}", f"out={tmp_path / 'out'}"])
    for split in ("train", "val"):
        names = [category["name"] for category in content(tmp_path / "out", split)["categories"]]
        assert names == ["car", "toothbrush", "train"]


def move(source: Path, target: Path, pattern: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for file in source.glob(pattern):
        file.rename(target / file.name)


def test_a_split_is_made_where_there_is_none(coco: Path, tmp_path: Path) -> None:
    """Images, labels and classes.txt in one folder, as LabelImg leaves them."""
    write(coco, tmp_path / "yolo", "yolo", ("train",))
    flat = tmp_path / "photos"
    move(tmp_path / "yolo/train/images", flat, "*")
    move(tmp_path / "yolo/train/labels", flat, "*")
    (flat / "classes.txt").write_text("car\ntrain\ntoothbrush\n")
    sets = []
    for number in range(2):
        main([f"source={flat}", f"out={tmp_path / str(number)}", "val=0.25", "seed=4"])
        sets.append([content(tmp_path / str(number), split) for split in ("train", "val")])
    assert sets[0] == sets[1]
    train, val = sets[0]
    assert (len(train["images"]), len(val["images"])) == (6, 2)
    expected = content(coco, "train")
    for part in (train, val):
        files = {image["file_name"] for image in part["images"]}
        kept = [image for image in expected["images"] if image["file_name"] in files]
        ids = {image["id"] for image in kept}
        boxes = [a for a in expected["annotations"] if a["image_id"] in ids]
        assert_same(part, expected | {"images": kept, "annotations": boxes})


def test_folders_of_splits_below_images_and_labels(coco: Path, tmp_path: Path) -> None:
    """As ultralytics has it, with equal names in both splits; and an image folder that no rule knows."""
    write(coco, tmp_path / "yolo", "yolo")
    other = tmp_path / "other"
    for split, named in (("train", "train"), ("val", "valid")):
        move(tmp_path / "yolo" / split / "images", other / "images" / named, "*")
        move(tmp_path / "yolo" / split / "labels", other / "labels" / named, "*")
    shutil.copy(tmp_path / "yolo/data.yaml", other)
    main([f"source={other}", f"out={tmp_path / 'out'}"])
    for split in ("train", "val"):
        assert_same(content(tmp_path / "out", split), content(coco, split))


def test_voc_lists_name_the_splits(coco: Path, tmp_path: Path) -> None:
    write(coco, tmp_path / "voc", "voc", ("train",))
    (tmp_path / "voc/train").rename(tmp_path / "voc/VOC2007")
    lists = tmp_path / "voc/VOC2007/ImageSets/Main"
    lists.mkdir(parents=True)
    stems = [Path(image["file_name"]).stem for image in content(coco, "train")["images"]]
    for name, own in (("train", stems[:5]), ("val", stems[5:7]), ("test", stems[7:])):
        (lists / f"{name}.txt").write_text("\n".join(own))
    main([f"source={tmp_path / 'voc'}", f"out={tmp_path / 'out'}"])
    sizes = [len(content(tmp_path / "out", split)["images"]) for split in ("train", "val", "test")]
    assert sizes == [5, 2, 1]


def turned(path: Path, pixels: Image.Transpose | None = None) -> None:
    """Gives a photograph an EXIF orientation of a quarter turn, and turns its pixels."""
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        (image if pixels is None else image.transpose(pixels)).save(path, exif=exif, quality=95)


def test_photographs_are_turned_upright(coco: Path, tmp_path: Path) -> None:
    """The camera stored every picture a quarter turn aside; labels are those of the upright picture."""
    write(coco, tmp_path / "yolo", "yolo")
    for path in (tmp_path / "yolo").glob("*/images/*"):
        turned(path, Image.Transpose.ROTATE_90)
    main([f"source={tmp_path / 'yolo'}", f"out={tmp_path / 'out'}"])
    assert_same(content(tmp_path / "out", "train"), content(coco, "train"))
    file = tmp_path / "out/annotations/instances_train2017.json"
    sample = CocoDataset(tmp_path / "out/train2017", file)[0]  # its one box is a red car
    x1, y1, x2, y2 = sample.boxes_N4[0].round().long().tolist()
    red, green, blue = sample.image[:, y1 + 4 : y2 - 4, x1 + 4 : x2 - 4].float().mean(dim=(1, 2)).tolist()
    assert red > 180
    assert max(green, blue) < 80
    with Image.open(tmp_path / "out/train2017" / content(coco, "train")["images"][0]["file_name"]) as image:
        assert 0x0112 not in image.getexif()


def test_labels_of_the_stored_pixels_leave_a_photograph_as_it_is(coco: Path, tmp_path: Path) -> None:
    write(coco, tmp_path / "labelme", "labelme")
    for path in (tmp_path / "labelme").glob("*/*.jpg"):
        turned(path)
    main([f"source={tmp_path / 'labelme'}", f"out={tmp_path / 'out'}"])
    assert_same(content(tmp_path / "out", "train"), content(coco, "train"))


def test_what_is_left_out_is_named(coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "yolo"
    write(coco, source, "yolo")
    images, labels = source / "train/images", source / "train/labels"
    stems = [Path(image["file_name"]).stem for image in content(coco, "train")["images"]]
    picture = (images / f"{stems[2]}.jpg").read_bytes()
    (images / f"{stems[2]}.jpg").write_bytes(picture[:700])
    (labels / f"{stems[3]}.txt").write_text("0 0.5 0.5\n")
    (labels / f"{stems[4]}.txt").write_text("0 1.5 0.5 0.2 0.2\n1 0.5 0.5 0.25 0.5\n")
    (labels / "alone.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(images / "deep.png")
    (images / "new.jpg").write_bytes((images / f"{stems[5]}.jpg").read_bytes())
    main([f"source={source}", f"out={tmp_path / 'out'}"])
    found = content(tmp_path / "out", "train")
    assert [image["file_name"] for image in found["images"]] == [
        f"{stem}.jpg" for stem in [*stems[:2], *stems[4:], "new"]
    ]
    assert sorted(p.name for p in (tmp_path / "out/train2017").iterdir()) == sorted(
        image["file_name"] for image in found["images"]
    )
    said = capsys.readouterr().out
    for words in (
        f"1 x image that cannot be read: train/images/{stems[2]}.jpg",
        f"1 x label that cannot be read, with its image: {stems[3]}.txt (",
        f"1 x box without area inside its image: {stems[4]}.jpg",
        "1 x more than 8 bits per channel: train/images/deep.png",
    ):
        assert words in said
    assert not (tmp_path / "out.part").exists()


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (lambda s: (s / "data.yaml").unlink(), [], "no class names: add a data.yaml"),
        (lambda s: [p.write_text("car") for p in s.glob("*/labels/*")], [], "no label can be read"),
        (lambda s: shutil.rmtree(s / "train/labels") or shutil.rmtree(s / "val/labels"), [], "no labels"),
        (lambda s: [shutil.rmtree(p) for p in s.glob("*/images")], [], "holds no image"),
        (lambda s: shutil.rmtree(s), [], "is no folder"),
        (lambda s: (s / "train/labels/a.json").write_text('{"shapes": []}'), [], "format=yolo"),
        (lambda s: (s / "a.json").write_text(EMPTY_COCO), [], "already: python train.py data=coco"),
        (lambda s: None, ["format=voc"], "no labels that are known"),
        (lambda s: None, ["classes=[car]"], "lacks toothbrush, train"),
        (lambda s: (s.parent / "out").write_text("x"), [], "is there already"),
    ],
)
def test_wrong_input_is_explained(
    coco: Path, tmp_path: Path, change: Callable[[Path], object], words: list[str], message: str
) -> None:
    write(coco, tmp_path / "yolo", "yolo")
    change(tmp_path / "yolo")
    with pytest.raises(SystemExit) as caught:
        main([f"source={tmp_path / 'yolo'}", f"out={tmp_path / 'out'}", *words])
    assert message in str(caught.value)
    assert not (tmp_path / "out" / "annotations").exists()
    assert not (tmp_path / "out.part").exists()
