"""Detections in files: COCO's results format, and where a run keeps those of each selection.

Shape legend: D detections, rows as in evaluation.overlaps.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from errors import UsageError
from evaluation.truth import Floats, Truth

# The selections, in the order of tables, their names for people and their files in a run directory.
SELECTIONS = {"nms": "NMS", "nms_free": "NMS-free"}
PREDICTIONS = {"nms": "predictions_nms.json", "nms_free": "predictions.json"}


def predictions_file(selection: str, predictor: str | None = None) -> str:
    """The file of a selection; that of another predictor than the run's own carries its name."""
    name = PREDICTIONS[selection]
    return name if predictor is None else name.replace("predictions", f"predictions_{predictor}", 1)


class Result(msgspec.Struct):
    """One detection in COCO's results format; bbox is x, y, width, height in pixels of the image file."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float


def encode(rows_D7: Floats) -> bytes:
    """The rows as a COCO results file."""
    return msgspec.json.encode(
        [
            Result(int(image), int(category), (x, y, width, height), score)
            for image, x, y, width, height, score, category in rows_D7.tolist()
        ]
    )


def read_results(file: Path, truth: Truth) -> Floats:
    """The rows of a COCO results file.

    Raises:
        UsageError: if it is missing or no such file, or names images or categories that the truth has not.
    """
    try:
        found = msgspec.json.decode(file.read_bytes(), type=list[Result])
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error.strerror})") from error
    except msgspec.DecodeError as error:
        raise UsageError(f"{file} is damaged, it holds no COCO results ({error}): write it anew") from error
    rows_D7 = np.array(
        [(one.image_id, *one.bbox, one.score, one.category_id) for one in found], dtype=np.float64
    ).reshape(-1, 7)
    if not np.isfinite(rows_D7).all():
        raise UsageError(f"{file} holds boxes or scores that are not finite: write it anew")
    for column, known, what in ((0, truth.image_ids, "image"), (6, truth.names, "category")):
        unknown = sorted(set(rows_D7[:, column].astype(np.int64).tolist()) - set(known))
        if unknown:
            raise UsageError(
                f"{file} has detections of {what} {unknown[0]}, which is not in the ground truth: do both "
                "belong to the same data? For a run, python eval.py run=DIR evaluates anew"
            )
    return rows_D7
