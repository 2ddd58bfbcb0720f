"""Who computes COCO's arrays: pycocotools, or a faster package that gives the same numbers.

`tests/evaluation/test_coco_backends.py` holds each of them to pycocotools. They come with the extra `fast`.

Shape legend: N detections of the data set, rows as in engine.coco_metrics; T IoU thresholds, R recalls,
K categories, A areas, M detection limits.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from errors import UsageError

Array = NDArray[np.float64]
Rows = NDArray[np.float64]
# The module that each backend imports.
BACKENDS = {"pycocotools": "pycocotools", "hotcoco": "hotcoco", "faster": "faster_coco_eval"}


@dataclass(frozen=True)
class Accumulated:
    """What COCO's evaluation of boxes accumulates over the images; -1 where there is no truth.

    Attributes:
        stats_12: the means that COCO reports, in its order, 0 to 1.
        precision_TRKAM: at each recall 0, 0.01, ..., 1.
        recall_TKAM: the highest that is reached.
        categories: the ids along K.
    """

    stats_12: Array
    precision_TRKAM: Array
    recall_TKAM: Array
    categories: Sequence[int]


def check_backend(name: object) -> None:
    """Whether this backend is known and installed.

    Raises:
        UsageError: naming the choices, or what to install.
    """
    if name not in BACKENDS:
        raise UsageError(f"eval.backend={name} must be one of {', '.join(BACKENDS)}")
    if find_spec(BACKENDS[str(name)]) is None:
        raise UsageError(
            f"eval.backend={name} needs a package that is not installed: uv pip install --extra fast "
            "-r pyproject.toml, or leave eval.backend=pycocotools"
        )


def accumulate(truth: COCO, rows_N7: Rows, backend: str = "pycocotools") -> Accumulated:
    """COCO's evaluation of boxes, with at most 100 detections per image and class.

    Args:
        truth: `coco_metrics.ground_truth`.
        rows_N7: detections on images of it.
        backend: one of BACKENDS; `check_backend` tells whether it can be had.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # all of them report their progress by print
        evaluation = _EVALUATIONS[backend](truth, rows_N7)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return Accumulated(
        np.asarray(evaluation.stats, dtype=np.float64)[:12],
        np.asarray(evaluation.eval["precision"]),
        np.asarray(evaluation.eval["recall"]),
        [int(category) for category in evaluation.params.catIds],
    )


def index(dataset: dict[str, Any]) -> COCO:
    """pycocotools' index of a data set that is already in memory."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = dataset
        coco.createIndex()
    return coco


def _pycocotools(truth: COCO, rows_N7: Rows) -> COCOeval:
    # Not by its loadRes, which cannot read an empty list and copies the truth at each call.
    annotations = [
        {"id": number, "image_id": int(row[0]), "category_id": int(row[6]), "bbox": row[1:5],
         "area": row[3] * row[4], "score": row[5], "iscrowd": 0}
        for number, row in enumerate(rows_N7.tolist(), start=1)
    ]  # fmt: skip
    return COCOeval(truth, index({**truth.dataset, "annotations": annotations}), "bbox")


def _hotcoco(truth: COCO, rows_N7: Rows) -> Any:
    import hotcoco

    own = hotcoco.COCO(truth.dataset)
    return hotcoco.COCOeval(own, own.load_res(rows_N7), "bbox")


def _faster(truth: COCO, rows_N7: Rows) -> Any:
    import faster_coco_eval

    own = faster_coco_eval.COCO(truth.dataset)
    return faster_coco_eval.COCOeval_faster(own, own.loadRes(rows_N7), "bbox")


_EVALUATIONS = {"pycocotools": _pycocotools, "hotcoco": _hotcoco, "faster": _faster}
