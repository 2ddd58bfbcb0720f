from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from data.augment.transforms import train_transform
from data.coco.dataset import CocoDataset
from data.sample import IGNORED
from errors import UsageError
from tests.helpers.coco_files import content, dataset, rewrite


def test_labels_follow_sorted_category_ids(tiny_coco: Path) -> None:
    data = dataset(tiny_coco)
    assert data.category_ids == (3, 7, 90)
    assert data.class_names == ("car", "train", "toothbrush")
    assert len(data) == 8


def test_samples_hold_the_boxes_of_the_file_without_crowds(tiny_coco: Path) -> None:
    data, file = dataset(tiny_coco), content(tiny_coco)
    for sample, image in zip(data, file["images"], strict=True):
        rows = [a for a in file["annotations"] if a["image_id"] == image["id"] and not a["iscrowd"]]
        expected = [(x, y, x + w, y + h) for x, y, w, h in (a["bbox"] for a in rows)]
        assert sample.boxes_N4.tolist() == [list(map(float, box)) for box in expected]
        assert sample.boxes_N4.shape == (len(rows), 4)
        assert [data.category_ids[label] for label in sample.labels_N] == [a["category_id"] for a in rows]
        assert sample.image.shape == (3, image["height"], image["width"])
        assert sample.image.dtype == torch.uint8
        assert sample.original_size == (image["height"], image["width"])
        assert sample.image_id == image["id"]
        assert sample.problem is None


def test_crowds_may_become_ignored_regions(tiny_coco: Path) -> None:
    plain, data, file = dataset(tiny_coco), dataset(tiny_coco, crowd_regions="ignore"), content(tiny_coco)
    crowds = [a for a in file["annotations"] if a["iscrowd"]]
    found = 0
    for sample, before, image in zip(data, plain, file["images"], strict=True):
        ignored_N = sample.labels_N == IGNORED
        assert torch.equal(sample.boxes_N4[~ignored_N], before.boxes_N4)
        assert torch.equal(sample.labels_N[~ignored_N], before.labels_N)
        boxes = [a["bbox"] for a in crowds if a["image_id"] == image["id"]]
        expected = [[x, y, x + w, y + h] for x, y, w, h in boxes]
        assert sample.boxes_N4[ignored_N].tolist() == expected
        found += len(expected)
    assert found == len(crowds) == 1
    assert data.coco_json() == plain.coco_json()


def test_an_unknown_rule_for_crowds_is_refused(tiny_coco: Path) -> None:
    with pytest.raises(UsageError, match=r"data.crowd_regions=skip must be drop or ignore"):
        dataset(tiny_coco, crowd_regions="skip")


def test_coco_json_keeps_crowds_and_areas_and_is_read_by_pycocotools(tiny_coco: Path) -> None:
    rewrite(tiny_coco, lambda d: (d["annotations"].reverse(), d["annotations"][0].update(id=0)))
    api, file = COCO(), content(tiny_coco)
    api.dataset = dataset(tiny_coco).coco_json()
    api.createIndex()

    def key(a: dict[str, Any]) -> tuple[Any, ...]:
        return (a["image_id"], a["category_id"], *a["bbox"], a["area"], a["iscrowd"])

    assert sorted(map(key, api.anns.values())) == sorted(map(key, file["annotations"]))
    assert sum(a["iscrowd"] for a in api.anns.values()) == 1
    assert 0 not in api.anns, "COCOeval takes a truth with id 0 for an unmatched one"
    assert {(i["id"], i["height"], i["width"]) for i in api.imgs.values()} == {
        (i["id"], i["height"], i["width"]) for i in file["images"]
    }


def test_defaults_of_optional_fields(tiny_coco: Path) -> None:
    rewrite(tiny_coco, lambda d: [a.pop(k) for a in d["annotations"] for k in ("area", "iscrowd", "id")])
    annotations = dataset(tiny_coco).coco_json()["annotations"]
    assert all(a["iscrowd"] == 0 and a["area"] == a["bbox"][2] * a["bbox"][3] for a in annotations)
    assert len({a["id"] for a in annotations}) == len(annotations) == len(content(tiny_coco)["annotations"])


def test_boxes_are_clipped_and_those_without_area_are_named(
    tiny_coco: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def spoil(data: dict[str, Any]) -> None:
        image = data["images"][1]["id"]  # the one without boxes
        boxes = ([-5, -6, 20, 30], [3, 3, 0, 5], [3, 3, 5, -2], [500, 3, 5, 5], [float("nan"), 1, 2, 3],
                 [1, 1, float("inf"), 3])  # fmt: skip
        for number, box in enumerate(boxes):
            data["annotations"].append(
                {"id": 9000 + number, "image_id": image, "category_id": 3, "bbox": box}
            )

    rewrite(tiny_coco, spoil)
    with caplog.at_level(logging.WARNING):
        data = dataset(tiny_coco)
    assert data[1].boxes_N4.tolist() == [[0, 0, 15, 24]]
    assert len(caplog.records) == 1
    assert "5 of" in caplog.text
    assert "9001, 9002, 9003, 9004, 9005" in caplog.text
    json.dumps(data.coco_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.pop("categories"), ["categories"]),
        (lambda d: d.update(images={}), ["images"]),
        (lambda d: d.update(images=[], annotations=[]), ["images", "empty"]),
        (lambda d: d["annotations"][2].update(image_id=31), ["annotation 502", "image_id 31"]),
        (lambda d: d["annotations"][2].update(category_id=4), ["annotation 502", "category_id 4"]),
        (lambda d: d["annotations"][2].pop("category_id"), ["annotation 502", "category_id None"]),
        (lambda d: d["annotations"][2].update(id=500), ["annotations", "[500]"]),
        (lambda d: d["images"][2].update(id=1000), ["images", "[1000]"]),
        (lambda d: d["images"][2].update(id="a"), ["'a'", "integer"]),
        (lambda d: d["images"][2].pop("width"), ["width"]),
        (lambda d: d["categories"][0].update(id=3), ["categories", "[3]"]),
        (lambda d: d["annotations"][2].update(bbox=[1, 2, 3]), ["annotation 502", "bbox [1, 2, 3]"]),
        (lambda d: d["annotations"][2].update(bbox=None), ["annotation 502", "bbox None"]),
        (lambda d: d["annotations"].append(5), ["annotations", "5"]),
        (lambda d: d["images"][3].update(file_name="none.jpg"), ["1 of 8", "none.jpg", "train2017"]),
        (lambda d: d["images"][3].update(width=200), ["000000000003.jpg", "200x"]),
    ],
)
def test_a_wrong_file_is_explained(
    tiny_coco: Path, change: Callable[[dict[str, Any]], object], words: list[str]
) -> None:
    rewrite(tiny_coco, change)
    with pytest.raises(UsageError) as caught:
        dataset(tiny_coco)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("text", ["names: [car]\n", "0 0.5 0.5 0.1 0.1", "[]", '"x"', "", "<annotation/>"])
def test_other_formats_are_refused(tiny_coco: Path, text: str) -> None:
    path = tiny_coco / "other.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"other\.json.*COCO"):
        CocoDataset(tiny_coco / "train2017", path)


def test_missing_paths_are_named(tiny_coco: Path) -> None:
    annotations = tiny_coco / "annotations" / "instances_train2017.json"
    with pytest.raises(UsageError, match="nowhere"):
        CocoDataset(tiny_coco / "nowhere", annotations)
    with pytest.raises(UsageError, match=r"none\.json"):
        CocoDataset(tiny_coco / "train2017", tiny_coco / "none.json")


def test_augmentation_depends_on_seed_epoch_and_index_only(tiny_coco: Path) -> None:
    transform = train_transform([40, 50, 60, 70], 200, flip=0.5, photometric=True)
    data, other = (
        dataset(tiny_coco, transform=transform, seed=1),
        dataset(tiny_coco, transform=transform, seed=2),
    )
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = data[4, 2]
    assert torch.equal(torch.get_rng_state(), before), "the global generator must not move"
    torch.manual_seed(6)
    np.random.seed(6)
    again = data[4, 2]
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.boxes_N4, again.boxes_N4)
    assert any(not torch.equal(data[epoch, 2].image, first.image) for epoch in range(3))
    differs = [not torch.equal(data[epoch, 2].image, other[epoch, 2].image) for epoch in range(3)]
    assert any(differs)


def test_indices_behave_like_a_list(tiny_coco: Path) -> None:
    data = dataset(tiny_coco, "val2017")
    assert len(list(data)) == 4
    assert data[-1].image_id == data[3].image_id
    with pytest.raises(IndexError):
        data[4]


def test_it_can_be_sent_to_a_worker(tiny_coco: Path) -> None:
    data = dataset(tiny_coco, transform=train_transform(40, 80))
    assert torch.equal(pickle.loads(pickle.dumps(data))[0, 3].image, data[0, 3].image)


def test_images_without_objects_can_be_left_out(tiny_coco: Path) -> None:
    def spoil(data: dict[str, Any]) -> None:
        last = data["images"][-1]["id"]  # its boxes lie outside, so that nothing is left to learn from
        for annotation in data["annotations"]:
            if annotation["image_id"] == last:
                annotation["bbox"][0] = 500
            if annotation["image_id"] == data["images"][0]["id"]:
                annotation["iscrowd"] = 1

    rewrite(tiny_coco, spoil)
    every, kept = dataset(tiny_coco), dataset(tiny_coco, filter_empty=True)
    assert (len(every), len(kept)) == (8, 5)
    with_boxes = [sample for sample in every if len(sample.boxes_N4)]
    for one, other in zip(kept, with_boxes, strict=True):
        assert one.image_id == other.image_id
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.boxes_N4, other.boxes_N4)
        assert torch.equal(one.labels_N, other.labels_N)
    assert kept.size_I2.tolist() == [list(sample.original_size) for sample in kept]
    rewrite(tiny_coco, lambda d: [a.update(iscrowd=1) for a in d["annotations"]])
    with pytest.raises(UsageError, match="no image has a box to learn from"):
        dataset(tiny_coco, filter_empty=True)
    assert len(dataset(tiny_coco, filter_empty=False)) == 8
