"""Reads a COCO-format JSON file into flat arrays and names whatever is wrong with it.

Flat arrays, because a list of dicts would be copied into every loader worker as its reference counts change.

Shape legend:
    I images, A annotations of all images, sorted by image.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from errors import UsageError


@dataclass(frozen=True)
class Annotations:
    """A COCO-format annotation file.

    Attributes:
        class_names, category_ids: label i stands for category_ids[i]; sorted by category id.
        supercategories: of each label, None where the file names none.
        image_ids_I: int64.
        file_names_I: str, relative to the image folder.
        size_I2: int64, (height, width).
        start_I: int64, I + 1 entries: the annotations of image i are the rows start_I[i] to start_I[i + 1].
        xywh_A4: float64, as in the file, not clipped.
        area_A: float64, as in the file, else width times height.
        labels_A: int64.
        crowd_A: bool.
        ids_A: int64, the annotation ids of the file, for messages.
    """

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    supercategories: tuple[str | None, ...]
    image_ids_I: np.ndarray
    file_names_I: np.ndarray
    size_I2: np.ndarray
    start_I: np.ndarray
    xywh_A4: np.ndarray
    area_A: np.ndarray
    labels_A: np.ndarray
    crowd_A: np.ndarray
    ids_A: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """The COCO dict for pycocotools, with annotations numbered from 1.

        They are numbered anew since COCOeval takes a truth with id 0 for one that was not matched. Boxes that
        are not finite are left out, because no IoU can be computed with them.
        """
        image_A = np.repeat(self.image_ids_I, np.diff(self.start_I)).tolist()
        columns = (
            self.labels_A,
            self.xywh_A4,
            self.area_A,
            self.crowd_A,
            np.isfinite(self.xywh_A4).all(axis=1),
        )
        rows = zip(image_A, *(column.tolist() for column in columns), strict=True)
        annotations = [
            {"id": row + 1, "image_id": image, "category_id": self.category_ids[label], "bbox": box,
             "area": area, "iscrowd": int(crowd)}
            for row, (image, label, box, area, crowd, finite) in enumerate(rows) if finite
        ]  # fmt: skip
        images = [
            {"id": image, "file_name": name, "height": height, "width": width}
            for image, name, (height, width) in zip(
                self.image_ids_I.tolist(), self.file_names_I.tolist(), self.size_I2.tolist(), strict=True
            )
        ]
        pairs = zip(self.category_ids, self.class_names, strict=True)
        return {
            "info": {},  # pycocotools' loadRes asks for it
            "images": images,
            "annotations": annotations,
            "categories": [{"id": category, "name": name} for category, name in pairs],
        }


def read_annotations(path: Path) -> Annotations:
    """Reads and checks a COCO-format file.

    Raises:
        UsageError: if the file is missing, is not JSON or not COCO's layout, or if ids are repeated or point
            to nothing.
    """
    content = _load(path)
    images, categories = content["images"], sorted(_dicts(path, content, "categories"), key=_sort_key)
    if not images or not categories:
        empty = "categories" if images else "images"
        raise UsageError(f"{path}: its list of {empty} is empty; is it the right file?")
    image_ids = _ids(path, "images", _dicts(path, content, "images"))
    category_ids = _ids(path, "categories", categories)
    row_of_image = {image_id: row for row, image_id in enumerate(image_ids)}
    label_of_category = {category: label for label, category in enumerate(category_ids)}
    try:
        names = [str(image["file_name"]) for image in images]
        sizes = [(int(image["height"]), int(image["width"])) for image in images]
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: every image needs file_name, height and width ({error!r})") from None

    annotations = _dicts(path, content, "annotations")
    ids = _ids(path, "annotations", annotations, required=False)
    image_A, label_A, box_A, area_A, crowd_A = [], [], [], [], []
    for annotation, annotation_id in zip(annotations, ids, strict=True):
        where = f"{path}: annotation {annotation_id}"
        image_A.append(_look_up(where, annotation, "image_id", row_of_image, "images"))
        label_A.append(_look_up(where, annotation, "category_id", label_of_category, "categories"))
        box = _numbers(where, "bbox", annotation.get("bbox"), 4)
        area = annotation.get("area")
        area_A.append(box[2] * box[3] if area is None else _numbers(where, "area", [area], 1)[0])
        box_A.append(box)
        crowd_A.append(bool(annotation.get("iscrowd", 0)))

    row_A = np.array(image_A, dtype=np.int64)
    order = np.argsort(row_A, kind="stable")
    return Annotations(
        class_names=tuple(str(category.get("name", category["id"])) for category in categories),
        category_ids=tuple(category_ids),
        supercategories=tuple(map(_supercategory, categories)),
        image_ids_I=np.array(image_ids, dtype=np.int64),
        file_names_I=np.array(names),
        size_I2=np.array(sizes, dtype=np.int64),
        start_I=np.concatenate(([0], np.bincount(row_A, minlength=len(images)).cumsum())).astype(np.int64),
        xywh_A4=np.array(box_A, dtype=np.float64).reshape(-1, 4)[order],
        area_A=np.array(area_A, dtype=np.float64)[order],
        labels_A=np.array(label_A, dtype=np.int64)[order],
        crowd_A=np.array(crowd_A, dtype=bool)[order],
        ids_A=np.array(ids, dtype=np.int64)[order],
    )


def _load(path: Path) -> dict[str, Any]:
    remedy = "it must be one COCO-format JSON file (convert YOLO .txt or VOC .xml labels to COCO first)"
    if not path.is_file():
        raise UsageError(f"annotation file {path} does not exist; {remedy}")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON ({error}); {remedy}") from None
    if isinstance(content, list):
        raise UsageError(f"{path} is a JSON list, as detection results are; {remedy}")
    keys = ("images", "annotations", "categories")
    missing = [key for key in keys if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        raise UsageError(f"{path} has no list of {', '.join(missing)}; {remedy}")
    return content


def _dicts(path: Path, content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    wrong = next((entry for entry in content[key] if not isinstance(entry, dict)), None)
    if wrong is not None:
        raise UsageError(f"{path}: {key} holds {wrong!r} where an object such as {{'id': 1}} is expected")
    return content[key]


def _supercategory(category: dict[str, Any]) -> str | None:
    name = category.get("supercategory")
    return None if name in (None, "", "none") else str(name)  # some exporters write "none"


def _sort_key(category: dict[str, Any]) -> int:
    return category["id"] if _is_id(category.get("id")) else 0


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _ids(path: Path, kind: str, entries: Sequence[dict[str, Any]], required: bool = True) -> list[int]:
    ids: list[Any] = [entry.get("id", None if required else row + 1) for row, entry in enumerate(entries)]
    wrong = [value for value in ids if not _is_id(value)]
    if wrong:
        raise UsageError(f"{path}: the id {wrong[0]!r} in {kind} is not an integer; number them 1, 2, 3, ...")
    if len(set(ids)) < len(ids):
        repeated = [value for value, count in Counter(ids).items() if count > 1]
        raise UsageError(
            f"{path}: {len(repeated)} ids are repeated in {kind}: {repeated[:5]}; each must be unique"
        )
    return ids


def _look_up(where: str, annotation: dict[str, Any], key: str, table: dict[int, int], kind: str) -> int:
    value = annotation.get(key)
    if not _is_id(value) or value not in table:
        raise UsageError(f"{where} has {key} {value!r}, which is not among the {kind} of the file")
    return table[value]


def _numbers(where: str, key: str, values: object, count: int) -> list[float]:
    try:
        numbers = [float(value) for value in values]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count:
        wanted = "[x, y, width, height]" if count == 4 else "a number"
        raise UsageError(f"{where} has {key} {values!r}; expected {wanted}")
    return numbers
