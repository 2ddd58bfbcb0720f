"""An exported detector in ONNX Runtime: torch is not needed.

Shape legend: B images, H and W of the canvas, P points, C classes, N detections of an image.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from errors import UsageError
from inference.predictor import Predictor, Raw
from inference.record import Record, read_record
from inference.selection import clipped, select_from

NAME = "matchpoint"  # the prefix of the metadata's keys


def load_onnx(path: str | Path, threads: int = 0) -> Predictor:
    """The detector of an ONNX file that `export.py` wrote, ready to predict on the CPU.

    Args:
        threads: of ONNX Runtime; 0 is one for each core.

    Raises:
        UsageError: if the file cannot be read, or was written by another program.
    """
    path = Path(path)
    if not path.is_file() or path.stat().st_size == 0:
        raise UsageError(f"{path}: {'the file has zero bytes' if path.is_file() else 'no such file'}")
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError("an ONNX file needs ONNX Runtime: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors alone
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no common base of its errors
        reason = str(error).splitlines()[0]
        raise UsageError(f"{path}: not a readable ONNX file ({reason})") from error
    about = {
        key.removeprefix(f"{NAME}."): value
        for key, value in session.get_modelmeta().custom_metadata_map.items()
    }
    if not {"record", "cut", "strides", "selections", "least_score"} <= about.keys():
        raise UsageError(
            f"{path}: an ONNX file of another program, it has no preprocessing record: "
            "python export.py checkpoint=FILE out=FILE writes one"
        )
    record = read_record(json.loads(about["record"]), path)
    cut = about["cut"]
    detect = partial(_detect, session, record, cut, json.loads(about["strides"]))
    selections = tuple(json.loads(about["selections"]))
    return Predictor(record, detect, selections, str(path), float(about["least_score"]))


def _detect(
    session: Any,
    record: Record,
    cut: str,
    strides: list[int],
    images_B3HW: np.ndarray,
    size_B2: np.ndarray,
    select: str,
    score: float,
) -> list[Raw]:
    inputs = {"images": images_B3HW} if cut == "raw" else {"images": images_B3HW, "sizes": size_B2}
    outputs = session.run(None, inputs)
    found = []
    for boxes, scores, *labels, size_2 in zip(*outputs, size_B2, strict=True):
        if cut == "raw":
            level_P = _levels(images_B3HW.shape[2], images_B3HW.shape[3], strides)
            found.append(select_from(select, clipped(boxes, size_2), scores, level_P, record, score))
            continue
        keep_N = scores > score
        found.append((boxes[keep_N], scores[keep_N], labels[0][keep_N]))
    return found


def _levels(height: int, width: int, strides: list[int]) -> np.ndarray:
    """The level of each point, (P,)."""
    counts = [-(-height // stride) * -(-width // stride) for stride in strides]
    return np.repeat(np.arange(len(strides)), counts)
