"""A trained detector from its checkpoint alone: no data set is needed.

    from detector import load

    model = load("runs/NAME/best.pt")
    found = model.predict("photograph.jpg")
    found.boxes_N4, found.scores_N, found.names

Shape legend: B images, H and W of the canvas.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detector.decode import decode
from detector.detector import Detector, build_detector
from detector.folded import folded
from detector.select import nms, topk
from detector.shared import read_shared
from errors import UsageError
from inference.predictor import Predictor, Raw
from inference.record import Record, read_record, require_checkpoint


def load(path: str | Path, device: torch.device | str = "auto") -> Predictor:
    """The detector of a checkpoint (last.pt or best.pt of a run) or of a folder that tools.share wrote.

    Args:
        device: "auto" is the GPU where there is one.

    Raises:
        UsageError: if the file is no checkpoint, its weights do not fit its model, or it lacks the
            preprocessing record.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    network, record = read_checkpoint(Path(path))
    return predictor(network, record, torch.device(device), str(path))


def predictor(network: Detector, record: Record, device: torch.device, source: str) -> Predictor:
    """A network and its record as what predicts."""
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = folded(network)
    return Predictor(record, partial(_detect, network, record, device), source=source)


def read_checkpoint(path: Path) -> tuple[Detector, Record]:
    """The network of a checkpoint with its weights, on the CPU, and its preprocessing record.

    Raises:
        UsageError: as `load`.
    """
    state = read_shared(path) if path.is_dir() else read_state(path)
    record = read_record(state["record"], path)
    return build_network(state["network"], record, state["weights"], path), record


def read_state(path: Path) -> dict[str, Any]:
    """The entries of a checkpoint that has the preprocessing record.

    Raises:
        UsageError: as `load`.
    """
    require_checkpoint(path)
    if path.stat().st_size == 0:
        raise UsageError(f"{path} is no checkpoint: the file has zero bytes")
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of anything makes torch.load raise nearly anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{path} is no checkpoint: it is damaged or of another kind ({reason})") from error
    if not isinstance(state, dict) or not {"config", "classes", "weights"} <= state.keys():
        raise UsageError(f"{path} is not a checkpoint of this project: it was written by something else")
    if not {"record", "network"} <= state.keys():
        raise UsageError(
            f"{path} has no preprocessing record, it is of an older version: "
            f"python -m tools.record checkpoint={path} adds it"
        )
    return state


def build_network(about: dict[str, Any], record: Record, weights: dict[str, Any], path: Path) -> Detector:
    """The network that a checkpoint's entry "network" describes, with its weights.

    Raises:
        UsageError: if they do not fit; `path` is for the message.
    """
    model = about["model"] | {"backbone": about["model"]["backbone"] | {"weights": None}}
    network = build_detector(model, len(record.classes), about["predictors"])
    network.use(about["inference"], about["peak_window"])
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(f"{path}: its weights do not fit its model: {error}") from error
    return network


@torch.inference_mode()
def _detect(
    network: Detector,
    record: Record,
    device: torch.device,
    images_B3HW: np.ndarray,
    size_B2: np.ndarray,
    select: str,
    score: float,
) -> list[Raw]:
    options = record.selection
    outputs = network(torch.from_numpy(images_B3HW).to(device))
    sizes = torch.from_numpy(size_B2)
    common = (decode(outputs), outputs.grid, score, options.candidates, options.limit)
    found = nms(*common, options.nms_iou, sizes) if select == "nms" else topk(*common, sizes)
    return [
        (one.boxes_N4.cpu().numpy(), one.scores_N.cpu().numpy(), one.labels_N.cpu().numpy()) for one in found
    ]
