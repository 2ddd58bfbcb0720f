"""What the files beside the images say: splits, class names, sizes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from errors import UsageError, listed

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


def read_json(path: Path) -> Any:
    """The content of a JSON file, None if it is none."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError):
        return None


def split_lists(files: Iterable[Path]) -> dict[str, str]:
    """The split of each image by its name without suffix, from lists such as train.txt."""
    found: dict[str, str] = {}
    for path in files:
        if path.suffix == ".txt" and path.stem.lower() in SPLITS:
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                # VOC has lists of names, YOLO lists of paths.
                if line.strip():
                    found[Path(line.split()[0]).stem if "/" not in line else Path(line.strip()).stem] = (
                        SPLITS[path.stem.lower()]
                    )
    return found


def said_size(label: Path | None) -> tuple[int, int] | None:
    """(width, height) of the image as its VOC or LabelMe file gives it, or None."""
    if label is None or label.suffix.lower() == ".txt":
        return None
    try:
        if label.suffix.lower() == ".xml":
            size = ElementTree.parse(label).getroot().find("size")
            values = [size.findtext(key) for key in ("width", "height")] if size is not None else []
        else:
            content = read_json(label)
            values = [content.get(key) for key in ("imageWidth", "imageHeight")]
        width, height = (int(float(value)) for value in values if value)
    except (ElementTree.ParseError, ValueError, AttributeError, TypeError):
        return None
    return width, height


def yolo_classes(source: Path, files: Iterable[Path]) -> list[str]:
    """The class names of data.yaml, or of classes.txt as LabelImg writes it."""
    several: dict[tuple[str, ...], Path] = {}
    for path in files:
        names: Any = None
        if path.suffix.lower() in (".yaml", ".yml"):
            try:
                content = yaml.safe_load(path.read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError):
                continue
            names = content.get("names") if isinstance(content, dict) else None
            if isinstance(names, dict):
                if sorted(names) != list(range(len(names))):
                    raise UsageError(f"{path}: its names must be numbered 0, 1, 2, ...")
                names = [names[number] for number in range(len(names))]
        elif path.name.lower() in ("classes.txt", "obj.names", "labels.txt"):
            names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if isinstance(names, list) and names:
            several[tuple(map(str, names))] = path
    if not several:
        raise UsageError(
            f"source={source} has YOLO labels but no class names: add a data.yaml with names: [first, second]"
        )
    if len(several) > 1:
        named = listed([str(path) for path in several.values()])
        raise UsageError(f"{named} name different classes: leave only the right one")
    return list(next(iter(several)))
