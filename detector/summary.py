"""How large a detector is: parameters and multiply-adds."""

from __future__ import annotations

import copy
from itertools import chain

import torch
from torch.utils.flop_counter import FlopCounterMode

from detector.detector import Detector

MULTIPLE = 32  # px; the loader pads images to a multiple of it


def multiply_adds(detector: Detector, height: int, width: int) -> int:
    """Multiply-adds of all convolutions for one image of height x width px, padded as the loader does."""
    height, width = (-(-side // MULTIPLE) * MULTIPLE for side in (height, width))
    # A copy without data: nothing is computed, and no running statistic or random number is touched.
    tensors = chain(detector.parameters(), detector.buffers())
    empty = {id(tensor): torch.empty_like(tensor, device="meta") for tensor in tensors}
    shadow = copy.deepcopy(detector, empty).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shadow(torch.empty(1, 3, height, width, device="meta"))
    # torch counts a multiplication and an addition as two operations.
    return counter.get_total_flops() // 2


def parameters(detector: Detector) -> int:
    """The number of parameters that inference uses, frozen ones included."""
    parts = (detector.backbone, detector.neck, detector.get_submodule(detector.inference))
    return sum(parameter.numel() for part in parts for parameter in part.parameters())


def summary(detector: Detector, name: str, height: int, width: int) -> str:
    """One line: "picodet_s: 1.18 M parameters, 0.48 G multiply-adds (0.96 GFLOPs) at 320x320 px"."""
    size, count = parameters(detector) / 1e6, multiply_adds(detector, height, width) / 1e9
    work = f"{count:.2f} G multiply-adds ({2 * count:.2f} GFLOPs)"
    return f"{name}: {size:.2f} M parameters, {work} at {height}x{width} px"
