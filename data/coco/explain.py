"""Messages about annotation files that are not what they must be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

from errors import UsageError

REMEDY = "it must be one COCO-format JSON file (python -m data.convert makes one of YOLO, VOC and others)"
_EXPECTED = {
    "id": "an integer; number them 1, 2, 3, ...",
    "image_id": "the id of an image, an integer",
    "category_id": "the id of a category, an integer",
    "bbox": "[x, y, width, height]",
    "area": "a number",
    "iscrowd": "0 or 1",
    "height": "a whole number of pixels",
    "width": "a whole number of pixels",
    "file_name": "a path below the image folder",
}


def explain(path: Path, plain: Any, reason: str) -> NoReturn:
    """Raises the UsageError for what msgspec says about `plain`, with the value that it stands for."""
    if isinstance(plain, list):
        raise UsageError(f"{path} is a JSON list, as detection results are; {REMEDY}")
    lists = ("images", "annotations", "categories")
    missing = [key for key in lists if not isinstance(plain, dict) or not isinstance(plain.get(key), list)]
    if missing:
        raise UsageError(f"{path} has no list of {', '.join(missing)}; {REMEDY}")
    # Such as "Expected `int`, got `str` - at `$.images[2].id`" or "... missing required field `id` - at ..."
    place = re.search(r"\$\.(\w+)\[(\d+)\](?:\.(\w+))?", reason)
    if place is None:
        raise UsageError(f"{path}: {reason}; {REMEDY}")
    kind, row = place[1], int(place[2])
    entry = plain[kind][row]
    if not isinstance(entry, dict):
        raise UsageError(
            f"{path}: {kind} holds {short(entry)} where an object such as {{'id': 1}} is expected"
        )
    absent = re.search(r"required field `(\w+)`", reason)
    key = absent[1] if absent else place[3]
    which = {"images": "image", "annotations": "annotation", "categories": "category"}[kind]
    own = f"number {row + 1}" if key == "id" else short(entry.get("id", row + 1))
    raise UsageError(
        f"{path}: {which} {own} has {key} {short(entry.get(key))}; expected {_EXPECTED.get(key, 'text')}"
    )


def short(value: object) -> str:
    """A value as it is written, cut after 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
