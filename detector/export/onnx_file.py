"""Writes a detector as one ONNX file, with everything that inference must know in its metadata."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from detector.detector import Detector
from detector.export.graph import DetectionGraph
from detector.export.onnx_nms import with_nms
from inference.onnx_model import NAME
from inference.record import Record

# Of 18, 20, 21 and 23 the fastest on the CPU, see docs/export.md: from 21 on GroupNorm is one node, for
# which ONNX Runtime has no kernel of its own there.
OPSET = 18
NO_PADDING = np.full((1, 2), 2**30)
OUTPUTS = {"raw": ("boxes", "scores"), "topk": ("boxes", "scores", "labels"), "nms": ("boxes", "scores")}


def export_onnx(
    network: Detector,
    record: Record,
    cut: str,
    path: Path,
    opset: int = OPSET,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Writes `path`: a graph from "images" (B, 3, H, W) uint8 to "boxes", "scores" and "labels".

    B is any number of images; H and W are multiples of the record's padding. A second input may be left out:
    "sizes" (B, 2) int64, height and width of each image inside its padding, so that nothing outside takes a
    place among the detections.

    Args:
        cut: where the graph ends, see `DetectionGraph`.
        facts: further entries of the metadata.
    """
    graph = DetectionGraph(network, record, cut)
    count = 1 if cut == "raw" else 2  # where nothing is selected, nothing is clipped
    inputs, sizes = example(record)[:count], dynamic_sizes(record)[:count]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter's own deprecations
        program = torch.onnx.export(
            graph,
            inputs,
            dynamo=True,
            dynamic_shapes=sizes,
            input_names=["images", "sizes"][:count],
            output_names=list(OUTPUTS[cut]),
            opset_version=opset,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    if cut == "nms":
        model = with_nms(model, record.selection)
    if cut != "raw":
        # An input that is an initializer, too, has its value as the default.
        model.graph.initializer.append(onnx.numpy_helper.from_array(NO_PADDING, "sizes"))
    content = {
        "record": record.json(),
        "cut": cut,
        "strides": json.dumps(list(network.strides)),
        "selections": json.dumps(selections(network, cut)),
        "least_score": str(record.selection.score if graph.applies_threshold else 0.0),
        "versions": json.dumps(
            {"torch": torch.__version__, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
        ),
        **{key: str(value) for key, value in (facts or {}).items()},
    }
    onnx.helper.set_model_props(model, {f"{NAME}.{key}": value for key, value in content.items()})
    model.producer_name = NAME
    onnx.checker.check_model(model)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(model.SerializeToString())
    partial.replace(path)


def example(record: Record) -> tuple[Tensor, Tensor]:
    """Inputs to trace with; sides are odd multiples of the padding, so that no size is special."""
    height, width = 3 * record.padding.multiple, 5 * record.padding.multiple
    return torch.zeros(2, 3, height, width, dtype=torch.uint8), torch.tensor([[height, width]] * 2)


def dynamic_sizes(record: Record, least: int = 1) -> tuple[dict[int, Any], dict[int, Any]]:
    """Which axes of the inputs vary: images, and rows and columns in multiples of the padding.

    Args:
        least: the smallest such multiple.
    """
    rows, columns = (torch.export.Dim(name, min=least, max=256) for name in ("rows", "columns"))
    batch, multiple = torch.export.Dim("batch", min=1), record.padding.multiple
    return {0: batch, 2: multiple * rows, 3: multiple * columns}, {0: batch}


def selections(network: Detector, cut: str) -> list[str]:
    """Those that can be made of the outputs; local maxima are found inside the graph or not at all."""
    if cut != "raw":
        return [cut]
    return ["nms"] if network.peak_window is not None else ["topk", "nms"]
