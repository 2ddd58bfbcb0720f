"""What every source of weights is converted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass
class Converted:
    """Weights under the names of a detector of this project.

    Attributes:
        words: the choices of train.py that describe the model, its data and its selection.
        classes: their names, in the order of the class outputs.
        weights: every parameter and buffer of the detector, but for counters of batches.
    """

    words: Sequence[str]
    classes: Sequence[str]
    weights: dict[str, Tensor]
