"""What a peer found on the validation images, as foreign results for tools.compare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from data.coco.read import read_annotations


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


def validation(root: Path) -> Validation:
    """The validation images of a set in COCO layout.

    Raises:
        UsageError: if the annotations are missing or damaged.
    """
    file = root / "annotations" / "instances_val2017.json"
    coco = read_annotations(file).to_json()
    files = {image["id"]: root / "val2017" / image["file_name"] for image in coco["images"]}
    return Validation(file.resolve(), files, [category["id"] for category in coco["categories"]])


@dataclass(frozen=True)
class Row:
    """A trained peer: its name, the runs' data.name, its seed, and COCO results with NMS and without."""

    name: str
    data: str
    seed: int
    nms: list[dict[str, Any]] | None = None
    nms_free: list[dict[str, Any]] | None = None

    def write(self, out: Path, truth: Validation) -> Path:
        """Writes the results and the file that names them, which is returned."""
        out.mkdir(parents=True, exist_ok=True)
        stem = f"{self.name}-{self.data}-seed{self.seed}"
        row: dict[str, Any] = {
            "name": self.name,
            "data": self.data,
            "seed": self.seed,
            "truth": str(truth.annotations),
        }
        for selection in ("nms", "nms_free"):
            results = getattr(self, selection)
            if results is not None:
                row[selection] = f"{stem}-{selection}.json"
                (out / row[selection]).write_bytes(msgspec.json.encode(results))
        file = out / f"{stem}.json"
        file.write_bytes(msgspec.json.format(msgspec.json.encode(row), indent=2))
        return file
