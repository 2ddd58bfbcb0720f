"""A COCO-format set of the tests, read and rewritten."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.coco.dataset import CocoDataset


def dataset(root: Path, split: str = "train2017", **arguments: Any) -> CocoDataset:
    return CocoDataset(root / split, root / "annotations" / f"instances_{split}.json", **arguments)


def content(root: Path) -> dict[str, Any]:
    return json.loads((root / "annotations" / "instances_train2017.json").read_text())


def rewrite(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = content(root)
    change(data)
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(data))
