"""A trained detector as a folder to give away: model.safetensors and config.yaml.

Unlike a checkpoint it holds nothing but what inference needs and the config of the training, in formats that
other programs read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from errors import UsageError

WEIGHTS, CONFIG = "model.safetensors", "config.yaml"
NETWORK = {"model", "predictors", "inference", "peak_window"}


def write_shared(folder: Path, state: dict[str, Any]) -> None:
    """Writes both files from the entries of a checkpoint."""
    # Copies: safetensors takes no views and no other memory layout.
    weights = {name: tensor.contiguous().clone() for name, tensor in state["weights"].items()}
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    content = {key: state[key] for key in ("record", "network", "config")}
    model = content["network"]["model"]
    # The weights that training began with were a file of that machine.
    model = model | {"backbone": model["backbone"] | {"weights": None}}
    content["network"] = content["network"] | {"model": model}
    (folder / CONFIG).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), "utf-8")


def read_shared(folder: Path) -> dict[str, Any]:
    """The entries "record", "network", "config" and "weights".

    Raises:
        UsageError: if a file is missing, damaged or of another program.
    """
    missing = [name for name in (WEIGHTS, CONFIG) if not (folder / name).is_file()]
    if missing:
        raise UsageError(
            f"{folder} is a folder without {' and '.join(missing)}: give the last.pt or best.pt of a run, or "
            "a folder that python -m tools.share wrote"
        )
    try:
        content = yaml.safe_load((folder / CONFIG).read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{folder / CONFIG} is damaged ({reason}): get the folder again") from error
    network = content.get("network") if isinstance(content, dict) else None
    if not isinstance(network, dict) or not network.keys() >= NETWORK or "record" not in content:
        raise UsageError(f"{folder / CONFIG} describes no detector of this project: get the folder again")
    try:
        weights = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise UsageError(f"{folder / WEIGHTS} is damaged ({error}): get the folder again") from error
    return {**content, "weights": weights}
