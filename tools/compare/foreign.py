"""Detections of any other detector as a row: a JSON file names them and their ground truth.

    {"name": "YOLO26n", "data": "raccoon", "truth": "val.json", "nms": "nms.json", "nms_free": "raw.json"}

Paths are relative to that file. Both results are in COCO's results format, with the image and category ids
of the truth, a COCO-format annotation file; one of them may be left out. "data" is the data.name of the runs
that it stands beside, "seed" (0 where it is not given) tells several trainings of one detector apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from data.coco.read import read_annotations
from errors import UsageError
from evaluation.coco_metrics import evaluate
from evaluation.results import read_results
from evaluation.truth import Floats, Truth
from tools.compare.runs import FinishedRun


class Foreign(msgspec.Struct, forbid_unknown_fields=True):
    """The content of such a file."""

    name: str
    data: str
    truth: str
    nms: str | None = None
    nms_free: str | None = None
    seed: int = 0


def read_foreign(file: Path) -> FinishedRun:
    """A row of foreign results, evaluated as runs are.

    Raises:
        UsageError: if the file or one that it names is missing or damaged, or they do not fit each other.
    """
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Foreign)
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(
            f"{file} cannot be read ({error}): foreign results are a JSON file with name, data, truth and "
            "nms or nms_free, see docs/compare.md"
        ) from error
    files = {
        selection: file.parent / name
        for selection, name in (("nms", found.nms), ("nms_free", found.nms_free))
        if name is not None
    }
    if not files:
        raise UsageError(f"{file} names no detections: add nms=FILE, nms_free=FILE or both")
    truth_json = read_annotations(file.parent / found.truth).to_json()
    truth = Truth(truth_json)
    result: dict[str, Any] = {"nms": {}, "nms_free": {}, "images": len(truth.image_ids)}
    for selection, path in files.items():
        result[selection] = evaluate(truth, read_results(path, truth))
    pair = result["nms"].get("AP"), result["nms_free"].get("AP")
    result["gap"] = None if None in pair else round(pair[0] - pair[1], 4)
    config = {
        "name": found.name, "seed": found.seed, "recipe": "foreign", "data": {"name": found.data},
        "assigner": {"name": found.name},
    }  # fmt: skip
    return FinishedRun(file, config, result, (), files, truth_json)


def foreign_rows(run: FinishedRun) -> tuple[Truth, dict[str, Floats]]:
    """The ground truth and the detections of a foreign row."""
    truth = Truth(run.truth_json or {})
    return truth, {selection: read_results(file, truth) for selection, file in run.predictions.items()}
