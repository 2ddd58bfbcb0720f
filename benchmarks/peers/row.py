"""What a peer found on the validation images, as foreign results for tools.compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from command_line import option
from data.coco.read import read_annotations
from tools.compare.foreign import Foreign


@dataclass
class RowOptions:
    """What the command line of every peer can set."""

    root: str = option(help="folder of the set, COCO layout")
    data: str = option(help="data.name of the runs that it stands beside")
    epochs: int = option(least=1, help="passes over the training images")
    seed: int = option(0, least=0, help="of weights and order of images")
    out: str = option("peers", help="folder of the row")


@dataclass(frozen=True)
class Validation:
    """The validation images of a set.

    Attributes:
        annotations: its COCO-format file.
        files: image file by image id.
        categories: category ids, in the file's order.
    """

    annotations: Path
    files: dict[int, Path]
    categories: list[int]

    def result(self, image_id: int, row: int, box: list[float], score: float) -> dict[str, Any]:
        """A COCO result: `box` is x1, y1, x2, y2 in pixels, `row` the category's place in the file."""
        x1, y1, x2, y2 = box
        bbox = [x1, y1, x2 - x1, y2 - y1]
        return {"image_id": image_id, "category_id": self.categories[row], "bbox": bbox, "score": score}


def annotations_of(root: Path, part: str) -> Path:
    """The annotations of the part "train" or "val" of a set in COCO layout."""
    return root / "annotations" / f"instances_{part}2017.json"


def validation(root: Path) -> Validation:
    """The validation images of a set in COCO layout.

    Raises:
        UsageError: if the annotations are missing or damaged.
    """
    file = annotations_of(root, "val")
    coco = read_annotations(file).to_json()
    files = {image["id"]: root / "val2017" / image["file_name"] for image in coco["images"]}
    return Validation(file.resolve(), files, [category["id"] for category in coco["categories"]])


def write_row(
    name: str, data: str, seed: int, results: Mapping[str, list[dict[str, Any]]], truth: Validation, out: Path
) -> Path:
    """Writes COCO results of the selections "nms" and "nms_free" and the file that names them.

    Args:
        name: of the peer.
        data: the runs' data.name.

    Returns:
        That file.
    """
    out.mkdir(parents=True, exist_ok=True)
    stem = f"{name}-{data}-seed{seed}"
    files = {selection: f"{stem}-{selection}.json" for selection in results}
    for selection, own in results.items():
        (out / files[selection]).write_bytes(msgspec.json.encode(own))
    row = Foreign(name, data, str(truth.annotations), **files, seed=seed)
    file = out / f"{stem}.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(row), indent=2))
    return file
