from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.coco.dataset import CocoDataset
from errors import UsageError


def dataset(root: Path, categories: Any = "all") -> CocoDataset:
    annotations = root / "annotations" / "instances_train2017.json"
    return CocoDataset(root / "train2017", annotations, categories=categories)


def rewrite(root: Path, change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    file = root / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    return content


def with_supercategories(root: Path) -> dict[str, Any]:
    """car (3) and train (7) are vehicles; toothbrush (90) is indoor."""

    def change(content: dict[str, Any]) -> None:
        for category in content["categories"]:
            category["supercategory"] = "indoor" if category["id"] == 90 else "vehicle"

    return rewrite(root, change)


def keys(annotations: list[dict[str, Any]], group: dict[int, int]) -> list[tuple[Any, ...]]:
    return sorted(
        (a["image_id"], group[a["category_id"]], *a["bbox"], a["area"], a["iscrowd"])
        for a in annotations
        if a["category_id"] in group
    )


@pytest.mark.parametrize(
    ("choice", "names", "group"),
    [
        ("all", ("car", "train", "toothbrush"), {3: 3, 7: 7, 90: 90}),
        ("supercategory", ("vehicle", "indoor"), {3: 1, 7: 1, 90: 2}),
        ("one", ("object",), {3: 1, 7: 1, 90: 1}),
        (["toothbrush", "car"], ("car", "toothbrush"), {3: 3, 90: 90}),
        (["train"], ("train",), {7: 7}),
    ],
)
def test_ground_truth_and_samples_follow(
    tiny_coco: Path, choice: Any, names: tuple[str, ...], group: dict[int, int]
) -> None:
    file = with_supercategories(tiny_coco)
    data = dataset(tiny_coco, choice)
    truth = data.coco_json()
    assert data.class_names == names
    assert [(c["id"], c["name"]) for c in truth["categories"]] == list(
        zip(data.category_ids, names, strict=True)
    )
    assert data.category_ids == tuple(sorted(set(group.values())))
    # Every image stays, also one that loses all annotations; the crowd box, a train, follows its class.
    assert [image["id"] for image in truth["images"]] == [image["id"] for image in file["images"]]
    own = {category: category for category in data.category_ids}
    assert keys(truth["annotations"], own) == keys(file["annotations"], group)
    assert sum(a["iscrowd"] for a in truth["annotations"]) == (7 in group)
    for sample in data:
        rows = [a for a in file["annotations"] if a["image_id"] == sample.image_id and not a["iscrowd"]]
        rows = [a for a in rows if a["category_id"] in group]
        assert [data.category_ids[label] for label in sample.labels_N] == [
            group[a["category_id"]] for a in rows
        ]
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in rows)]
        assert sample.boxes_N4.tolist() == boxes


def test_some_images_are_left_without_boxes(tiny_coco: Path) -> None:
    every, some = dataset(tiny_coco), dataset(tiny_coco, ["train"])
    empty = [len(sample.boxes_N4) == 0 for sample in some]
    assert sum(empty) > sum(len(sample.boxes_N4) == 0 for sample in every) == 1
    assert not all(empty)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (["car", "trian"], r"instances_train2017\.json has no trian; did you mean train\?"),
        (["Car"], r"has no Car; did you mean car\?"),
        (["xyz", 7], r"has no xyz, 7; its 3 categories are car, train, toothbrush"),
        ("car", r"data\.categories=car must be all, supercategory, one or a list of names, such as \[car\]"),
        ([], r"data\.categories=\[\] must be"),
        (None, r"data\.categories=None must be"),
        (3, r"data\.categories=3 must be"),
        (
            "supercategory",
            r"instances_train2017\.json has no supercategory for car, train, toothbrush: add it",
        ),
    ],
)
def test_a_wrong_choice_is_explained(tiny_coco: Path, choice: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataset(tiny_coco, choice)


@pytest.mark.parametrize("value", [None, "", "none"])
def test_one_missing_supercategory_is_named(tiny_coco: Path, value: str | None) -> None:
    with_supercategories(tiny_coco)
    rewrite(tiny_coco, lambda content: content["categories"][0].update(supercategory=value))
    with pytest.raises(UsageError, match=re.escape("no supercategory for toothbrush: ")):
        dataset(tiny_coco, "supercategory")
