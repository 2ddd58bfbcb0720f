"""Detections in files: COCO's results format, and where a run keeps those of each selection.

Shape legend: D detections, rows as in evaluation.overlaps; N those of one part.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from errors import UsageError
from evaluation.truth import Floats, Truth

# The selections, in the order of tables, their headings and their files in a run directory.
SELECTIONS = {"nms": "NMS", "nms_free": "NMS-free"}
ROWS_AT_ONCE = 4096
PREDICTIONS = {"nms": "predictions_nms.json", "nms_free": "predictions.json"}


def predictions_file(selection: str, predictor: str | None = None) -> str:
    """The file of a selection; that of another predictor than the run's own carries its name."""
    name = PREDICTIONS[selection]
    return name if predictor is None else name.replace("predictions", f"predictions_{predictor}", 1)


class Result(msgspec.Struct, gc=False):
    """One detection in COCO's results format; bbox is x, y, width, height in pixels of the image file."""

    image_id: int
    category_id: int
    bbox: Annotated[list[float], msgspec.Meta(min_length=4, max_length=4)]
    score: float


def encode(rows_D7: Floats) -> bytes:
    """The rows as a COCO results file."""
    parts = []
    # In parts: the objects of one are freed before the next, which takes half the time of all at once.
    for start in range(0, len(rows_D7), ROWS_AT_ONCE):
        rows_N7 = rows_D7[start : start + ROWS_AT_ONCE]
        image_N, category_N = (rows_N7[:, column].astype(np.int64).tolist() for column in (0, 6))
        boxes, score_N = rows_N7[:, 1:5].tolist(), rows_N7[:, 5].tolist()
        parts.append(msgspec.json.encode(list(map(Result, image_N, category_N, boxes, score_N)))[1:-1])
    return b"[" + b",".join(parts) + b"]"


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
        raise UsageError(f"{file} is damaged, it holds no COCO results ({error}): write it again") from error
    rows_D7 = np.array(
        [(one.image_id, *one.bbox, one.score, one.category_id) for one in found], dtype=np.float64
    ).reshape(-1, 7)
    if not np.isfinite(rows_D7).all():
        raise UsageError(f"{file} holds boxes or scores that are not finite: write it again")
    for column, known, what in ((0, truth.image_ids, "image"), (6, truth.names, "category")):
        unknown = sorted(set(rows_D7[:, column].astype(np.int64).tolist()) - set(known))
        if unknown:
            raise UsageError(
                f"{file} has detections of {what} {unknown[0]}, which is not in the ground truth: do both "
                "belong to the same data? For a run, python eval.py run=DIR evaluates it again"
            )
    return rows_D7
