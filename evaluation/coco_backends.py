"""Who computes COCO's arrays: hotcoco where it is installed, else pycocotools; the numbers are the same.

`tests/evaluation/test_coco_backends.py` holds every backend to pycocotools. The extra `fast` installs them.

Shape legend: D detections, rows as in evaluation.overlaps; T IoU thresholds, R recalls, C categories, S
ranges of object size, N limits of detections per image and class.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval

from errors import UsageError
from evaluation.truth import Floats, Truth, index

# The module that each backend imports.
BACKENDS = {"pycocotools": "pycocotools", "hotcoco": "hotcoco", "faster": "faster_coco_eval"}
LIMITS = (1, 10, 100)  # COCO's, of detections per image and class


@dataclass(frozen=True)
class Accumulated:
    """What COCO's evaluation of boxes accumulates over the images; -1 where there is no object.

    Attributes:
        stats_12: the means that COCO reports, in its order, 0 to 1.
        precision_TRCSN: at each recall 0, 0.01, ..., 1.
        recall_TCSN: the highest that is reached.
        categories: the ids along C.
    """

    stats_12: Floats
    precision_TRCSN: Floats
    recall_TCSN: Floats
    categories: Sequence[int]


def check_backend(name: object) -> None:
    """Whether this backend is known and installed.

    Raises:
        UsageError: naming the choices, or what to install.
    """
    if name == "auto":
        return
    if name not in BACKENDS:
        raise UsageError(f"eval.backend={name} must be one of auto, {', '.join(BACKENDS)}")
    if find_spec(BACKENDS[str(name)]) is None:
        raise UsageError(
            f"eval.backend={name} needs a package that is not installed: uv pip install --extra fast "
            "-r pyproject.toml, or leave eval.backend=auto"
        )


def chosen(name: str) -> str:
    """The backend that `auto` stands for: hotcoco where it is installed, else pycocotools."""
    if name != "auto":
        return name
    return "hotcoco" if find_spec(BACKENDS["hotcoco"]) is not None else "pycocotools"


def accumulate(
    truth: Truth, rows_D7: Floats, backend: str = "auto", limits: Sequence[int] = LIMITS
) -> Accumulated:
    """COCO's evaluation of boxes.

    Args:
        truth: the ground truth.
        rows_D7: detections on images of it.
        backend: auto or one of BACKENDS; `check_backend` tells whether it can be had.
        limits: of detections per image and class; the third one, 100, is that of `stats_12`.
    """
    # Where they are COCO's they are left as they are: hotcoco warns of all else.
    changes = {} if tuple(limits) == LIMITS else {"maxDets": list(limits)}
    precision_TRCSN, recall_TCSN, categories = _evaluated(truth, rows_D7, backend, changes)
    return Accumulated(_stats(precision_TRCSN, recall_TCSN), precision_TRCSN, recall_TCSN, categories)


def ap_of_images(truth: Truth, rows_D7: Floats, images: Sequence[int], backend: str = "auto") -> float:
    """AP, 0 to 1, of the images with these ids alone; -1 without objects there."""
    # Of objects of all sizes only, which takes half the time of `accumulate`.
    changes = {"imgIds": list(images), "areaRng": [[0.0, 1e10]], "areaRngLbl": ["all"]}
    precision_TRCN = _evaluated(truth, rows_D7, backend, changes)[0][:, :, :, 0]
    measured = precision_TRCN[..., -1][precision_TRCN[..., -1] > -1]
    return float(measured.mean()) if len(measured) else -1.0


def _evaluated(
    truth: Truth, rows_D7: Floats, backend: str, changes: Mapping[str, Any]
) -> tuple[Floats, Floats, list[int]]:
    """Precision and recall as in Accumulated and the category ids, with these parameters changed."""
    # All of them report their progress by print.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        evaluation = _EVALUATIONS[chosen(backend)](truth, rows_D7)
        for name, value in changes.items():
            setattr(evaluation.params, name, value)
        evaluation.evaluate()
        evaluation.accumulate()
    found = evaluation.eval
    categories = [int(category) for category in evaluation.params.catIds]
    return np.asarray(found["precision"]), np.asarray(found["recall"]), categories


def _stats(precision_TRCSN: Floats, recall_TCSN: Floats) -> Floats:
    """COCO's 12 means. Not by `summarize`: packages differ in the limit that it takes of four."""
    most = len(LIMITS) - 1
    parts = [
        precision_TRCSN[:, :, :, 0, most],
        *(precision_TRCSN[iou, :, :, 0, most] for iou in (0, 5)),  # IoU 0.5 and 0.75
        *(precision_TRCSN[:, :, :, size, most] for size in (1, 2, 3)),
        *(recall_TCSN[:, :, 0, limit] for limit in range(len(LIMITS))),
        *(recall_TCSN[:, :, size, most] for size in (1, 2, 3)),
    ]
    return np.array([part[part > -1].mean() if (part > -1).any() else -1.0 for part in parts])


def pycocotools_evaluation(truth: Truth, rows_D7: Floats) -> COCOeval:
    """pycocotools' evaluation of boxes, before its `evaluate`."""
    # Not by its loadRes, which cannot read an empty list and copies the truth at each call.
    annotations = [
        {"id": number, "image_id": int(row[0]), "category_id": int(row[6]), "bbox": row[1:5],
         "area": row[3] * row[4], "score": row[5], "iscrowd": 0}
        for number, row in enumerate(rows_D7.tolist(), start=1)
    ]  # fmt: skip
    return COCOeval(truth.pycocotools, index({**truth.dataset, "annotations": annotations}), "bbox")


def _hotcoco(truth: Truth, rows_D7: Floats) -> Any:
    import hotcoco

    return hotcoco.COCOeval(truth.hotcoco, truth.hotcoco.load_res(rows_D7), "bbox")


def _faster(truth: Truth, rows_D7: Floats) -> Any:
    import faster_coco_eval

    return faster_coco_eval.COCOeval_faster(truth.faster, truth.faster.loadRes(rows_D7), "bbox")


_EVALUATIONS = {"pycocotools": pycocotools_evaluation, "hotcoco": _hotcoco, "faster": _faster}
