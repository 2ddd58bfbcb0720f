"""Image files of a COCO-format set: colours, formats, damaged and missing ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.coco.dataset import CocoDataset
from errors import UsageError
from tests.helpers.coco_files import dataset, rewrite


def test_pixels_are_rgb(tiny_coco: Path) -> None:
    sample = dataset(tiny_coco)[0]  # its one box is a red car
    x1, y1, x2, y2 = sample.boxes_N4[0].long().tolist()
    red, green, blue = sample.image[:, y1 + 4 : y2 - 4, x1 + 4 : x2 - 4].float().mean(dim=(1, 2)).tolist()
    assert red > 180
    assert max(green, blue) < 80


def test_a_file_that_is_no_image_is_named(tiny_coco: Path) -> None:
    (tiny_coco / "train2017" / "000000000002.jpg").write_text("<html>404</html>")
    with pytest.raises(UsageError, match=r"1 of 8 .*000000000002\.jpg"):
        dataset(tiny_coco)


def test_images_in_subfolders(tiny_coco: Path) -> None:
    rewrite(tiny_coco, lambda d: [i.update(file_name=f"train2017/{i['file_name']}") for i in d["images"]])
    data = CocoDataset(tiny_coco, tiny_coco / "annotations" / "instances_train2017.json")
    assert data[3].image_id == 1000 + 37 * 3


def test_a_truncated_image_is_replaced_in_training_and_blank_in_evaluation(tiny_coco: Path) -> None:
    data, path = dataset(tiny_coco), tiny_coco / "train2017" / "000000000007.jpg"
    path.write_bytes(path.read_bytes()[:700])  # the header stays whole
    replaced = data[3, 7]
    assert replaced.image_id == data[0].image_id
    assert replaced.problem is not None
    assert replaced.problem.startswith("000000000007.jpg: ")
    blank = data[7]
    assert blank.image_id == 1000 + 37 * 7
    assert len(blank.boxes_N4) == len(blank.labels_N) == 0
    assert blank.image.shape[1:] == blank.original_size
    assert blank.problem == replaced.problem


def test_a_lost_disk_ends_the_run(tiny_coco: Path) -> None:
    data = dataset(tiny_coco)
    for path in (tiny_coco / "train2017").iterdir():
        path.unlink()
    with pytest.raises(UsageError, match="train2017"):
        data[0, 0]


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "LA"])
def test_other_colour_modes_become_rgb(tiny_coco: Path, mode: str) -> None:
    name = "000000000002.tif" if mode == "CMYK" else "000000000002.png"
    with Image.open(tiny_coco / "train2017" / "000000000002.jpg") as image:
        image.convert(mode).save(tiny_coco / "train2017" / name)
        gray = np.asarray(image.convert("L"), dtype=float).mean()
    rewrite(tiny_coco, lambda d: d["images"][2].update(file_name=name))
    sample = dataset(tiny_coco)[2]
    assert sample.image.shape[0] == 3
    assert abs(sample.image.float().mean().item() - gray) < 12


def test_deep_images_are_refused(tiny_coco: Path) -> None:
    with Image.open(tiny_coco / "train2017" / "000000000002.jpg") as image:
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 256).save(
            tiny_coco / "train2017" / "d.png"
        )
    rewrite(tiny_coco, lambda d: d["images"][2].update(file_name="d.png"))
    with pytest.raises(UsageError, match=r"d\.png.*8 bits"):
        dataset(tiny_coco)


def test_exif_orientation_is_ignored(tiny_coco: Path) -> None:
    path = tiny_coco / "train2017" / "000000000002.jpg"
    before = dataset(tiny_coco)[2].image.shape
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(path, exif=exif)
    assert dataset(tiny_coco)[2].image.shape == before
