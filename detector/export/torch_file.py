"""Writes a detector as a torch.export program, for torch without this project."""

from __future__ import annotations

from pathlib import Path

import torch

from detector.detector import Detector
from detector.export.graph import DetectionGraph
from detector.export.onnx_file import dynamic_sizes, example
from errors import UsageError
from inference.record import Record


def export_torch(network: Detector, record: Record, cut: str, path: Path) -> None:
    """Writes `path`, which torch.export.load reads; the record is its extra file "record.json".

    Args:
        cut: "raw" or "topk", see `DetectionGraph`.

    Raises:
        UsageError: for cut=nms, whose number of steps depends on values.
    """
    if cut == "nms":
        raise UsageError("format=torch has no cut=nms: torchvision.ops.nms takes the boxes of cut=raw")
    # A program is for maps of more than one row and column: torch.export takes an axis of 1 for another case.
    least = max(network.strides) // record.padding.multiple + 1
    inputs, sizes = example(record)[:1], dynamic_sizes(record, least)[:1]
    with torch.no_grad():
        program = torch.export.export(DetectionGraph(network, record, cut), inputs, dynamic_shapes=sizes)
    torch.export.save(program, path, extra_files={"record.json": record.json()})
