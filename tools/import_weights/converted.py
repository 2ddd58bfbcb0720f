"""What every source of weights is converted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor
from torchvision.models.detection import FCOS_ResNet50_FPN_Weights

NAMES = FCOS_ResNet50_FPN_Weights.COCO_V1.meta["categories"]  # by category id, of which some do not exist
COCO = {index: name for index, name in enumerate(NAMES) if name not in ("__background__", "N/A")}


@dataclass
class Converted:
    """Weights under the names of a detector of this project.

    Attributes:
        words: the choices of train.py that describe the model, its data and its selection.
        categories: name by category id, in the order of the class outputs.
        weights: every parameter and buffer of the detector, but for counters of batches.
    """

    words: Sequence[str]
    categories: Mapping[int, str]
    weights: dict[str, Tensor]
