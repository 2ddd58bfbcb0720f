"""Annotation files that are wrong in some field: read all the same, or refused with a message."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.coco import read
from data.coco.dataset import CocoDataset
from data.coco.read import read_annotations
from errors import UsageError
from evaluation.truth import Truth

STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 3, 1.5, 10**30, -(2**63) - 1, float("inf"), float("-inf"), float("nan"), 1e308, "",
    "a", "7", "../a.jpg", "/etc/hosts", "a\0b", "\ud800", "x" * 5000, [], {}, [None], [[[]]], {"id": 1},
    [1, 2, 3, 4], [float("inf")] * 4, [1e308] * 4, ["1", "2", "3", "4"],
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to every part of a JSON value."""
    if path:
        yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in pairs:
        yield from places(part, (*path, key))


def test_a_file_with_any_strange_value_is_read_or_explained(tiny_coco: Path) -> None:
    file = tiny_coco / "annotations" / "instances_train2017.json"
    whole = json.loads(file.read_text())
    rng, where = random.Random(0), list(places(whole))
    messages: list[str] = []
    for _ in range(250):
        content = copy.deepcopy(whole)
        *path, last = rng.choice(where)
        parent = content
        for key in path:
            parent = parent[key]
        if rng.random() < 0.15:
            del parent[last]
        else:
            parent[last] = rng.choice(STRANGE)
        file.write_text(json.dumps(content))
        try:
            data = CocoDataset(tiny_coco / "train2017", file)
            assert len(list(data)) == len(data)
            Truth(data.coco_json())
        except UsageError as error:
            messages.append(str(error))
    assert 100 < len(messages) < 240
    assert all(str(tiny_coco) in message for message in messages)
    assert max(map(len, messages)) < 1000 + len(str(tiny_coco))


@pytest.mark.parametrize("piece", [1, 100, 10**7])
def test_pieces_change_nothing(tiny_coco: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    """Beside json.loads: polygons, strings with brackets, ids that are not given."""
    file = tiny_coco / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    for row, entry in enumerate(content["annotations"]):
        entry |= {"segmentation": {"size": [3, 4], "counts": [[1, 2]]}, "note": '}, {"id": 5}, {'}
        if row % 3 == 0:
            entry["keypoints"] = [{"x": 1}, {"x": 2}]
        del entry["id"]
    file.write_text(json.dumps(content, indent=1))
    monkeypatch.setattr(read, "_PIECE", piece)
    found = read_annotations(file)
    rows = [(a["image_id"], a["bbox"], i) for i, a in enumerate(content["annotations"], start=1)]
    ids = [image["id"] for image in content["images"]]
    rows.sort(key=lambda row: ids.index(row[0]))
    assert found.image_ids_I[found.image_A].tolist() == [row[0] for row in rows]
    assert found.xywh_A4.tolist() == [row[1] for row in rows]
    assert found.ids_A.tolist() == [row[2] for row in rows]


def test_a_file_without_annotations_is_read(tiny_coco: Path) -> None:
    file = tiny_coco / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text()) | {"annotations": []}
    file.write_text(json.dumps(content))
    assert read_annotations(file).xywh_A4.shape == (0, 4)


@pytest.mark.parametrize(
    ("kind", "key", "value", "words"),
    [
        ("images", "file_name", "../secret.jpg", "1 images lie outside the image folder, such as '../secret"),
        ("images", "file_name", "/etc/passwd", "outside the image folder, such as '/etc/passwd'"),
        ("images", "file_name", "a\\..\\b.jpg", "outside the image folder"),
        ("images", "height", float("inf"), "image 1111 has height inf; expected a whole number of pixels"),
        ("images", "id", 2**63, "image number 4 has id 9223372036854775808; expected an integer"),
        ("images", None, None, "images holds None where an object"),
        ("categories", None, None, "categories holds None where an object"),
        ("annotations", "image_id", 2**70, "annotation 503 has image_id 11805"),
        ("annotations", "bbox", ["a"] * 400, "annotation 503 has bbox ['a', 'a'"),
        ("annotations", "area", "big", "annotation 503 has area 'big'; expected a number"),
    ],
)
def test_what_is_wrong_is_named(tiny_coco: Path, kind: str, key: str | None, value: Any, words: str) -> None:
    file = tiny_coco / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    row = min(3, len(content[kind]) - 1)
    if key is None:
        content[kind][row] = value
    else:
        content[kind][row][key] = value
    file.write_text(json.dumps(content))
    with pytest.raises(UsageError) as caught:
        read_annotations(file)
    assert words in str(caught.value)
    assert np.all([len(line) < 400 for line in str(caught.value).splitlines()])
