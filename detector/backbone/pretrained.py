"""Files of pretrained weights for a timm feature extractor: read, checked tensor by tensor, loaded."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from detector.backbone.lcnet import timm_weights
from detector.backbone.paddle_file import read_arrays
from errors import UsageError

SHOWN = 5  # so many misfits are named; the rest is counted


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a file (`.safetensors`, what torch.save wrote, or LCNet's `.pdparams`), on the CPU.

    A training checkpoint that keeps its weights under "state_dict" is understood as well.

    Raises:
        UsageError: if the file is missing, cannot be read, or holds no state dict.
    """
    if not path.is_file():
        raise UsageError(f"model.backbone.weights={path}: no such file. Give an existing one, or null.")
    state: object
    if path.suffix == ".pdparams":
        return timm_weights(read_arrays(path))
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of anything makes the readers raise nearly anything, IndexError too
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"model.backbone.weights={path} cannot be read ({reason}). "
            "It must be a state dict saved by torch.save or safetensors."
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not any(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(
            f"model.backbone.weights={path} holds no state dict (names and tensors). "
            "Save one with torch.save(model.state_dict(), FILE)."
        )
    return {str(key): value for key, value in state.items() if isinstance(value, Tensor)}


def load_weights(features: nn.Module, path: Path, name: str) -> None:
    """Fills every parameter and buffer of `features` from the state dict of the full timm classifier `name`.

    What the file holds beyond that (the classifier, stages behind the last one in use) is left alone.

    Raises:
        UsageError: as read_state_dict, or if anything is missing or of another shape; nothing is loaded then.
    """
    found: dict[str, Tensor] = {}
    for key, value in read_state_dict(path).items():
        found[key] = value
        # timm's feature extractor lifts the children of a Sequential: stages.0.x becomes stages_0.x.
        found.setdefault(key.replace(".", "_", 1), value)
    misfits = []
    wanted = features.state_dict()
    for key, value in wanted.items():
        if key not in found:
            # Old files do not count batches, and nothing here reads that count.
            if not key.endswith("num_batches_tracked"):
                misfits.append(f"{key} is missing")
        elif found[key].shape != value.shape:
            misfits.append(f"{key} is {tuple(found[key].shape)} but must be {tuple(value.shape)}")
    if misfits:
        rest = f" and {len(misfits) - SHOWN} more" if len(misfits) > SHOWN else ""
        raise UsageError(
            f"model.backbone.weights={path} does not fit {name}, {len(misfits)} of {len(wanted)} tensors: "
            f"{'; '.join(misfits[:SHOWN])}{rest}. Give the state dict of timm's {name}."
        )
    features.load_state_dict({key: found[key] for key in wanted if key in found}, strict=False)
