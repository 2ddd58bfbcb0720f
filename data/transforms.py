"""Augmentation and resizing with torchvision.transforms.v2.

Shape legend:
    H, W image height and width, N boxes of one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from errors import UsageError


def train_transform(
    short: int | Sequence[int], long: int, flip: float = 0.5, photometric: bool = False
) -> BoxTransform:
    """Resize to a random one of `short`, horizontal flip, optionally colour jitter.

    Args:
        short: the wanted shorter side in pixels; one of several is drawn for each image.
        long: the longer side never exceeds this, whatever `short` says.
        flip: the probability of a horizontal flip.
        photometric: vary brightness, contrast, saturation and hue.

    Raises:
        UsageError: if a size is below 8 or `flip` is not a probability.
    """
    if not 0 <= flip <= 1:
        raise UsageError(f"flip={flip} is not a probability; choose 0 to 1")
    steps: list[Any] = [KeepRatioResize(short, long), v2.RandomHorizontalFlip(flip)]
    if photometric:
        steps.append(v2.ColorJitter(brightness=0.25, contrast=0.25, saturation=0.25, hue=0.03))
    return BoxTransform(steps)


def eval_transform(short: int, long: int) -> BoxTransform:
    """Resize only: shorter side `short`, longer side at most `long`."""
    return BoxTransform([KeepRatioResize(short, long)])


class BoxTransform:
    """Runs v2 transforms on an image and its boxes; returns plain tensors.

    Boxes are clamped to the image, and those left with a side below one pixel are removed.
    """

    def __init__(self, steps: Sequence[Any]) -> None:
        self.steps = v2.Compose([*steps, v2.ClampBoundingBoxes()])

    def __call__(self, image: Tensor, boxes_N4: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = (image.shape[-2], image.shape[-1])
        boxes = tv_tensors.BoundingBoxes(boxes_N4.reshape(-1, 4), format="XYXY", canvas_size=size)
        image, boxes = self.steps(tv_tensors.Image(image), boxes)
        boxes_N4 = boxes.as_subclass(Tensor)
        keep_N = (boxes_N4[:, 2:] - boxes_N4[:, :2] >= 1).all(dim=1)
        return image.as_subclass(Tensor).contiguous(), boxes_N4[keep_N], labels_N[keep_N]


class KeepRatioResize(v2.Transform):
    """Shorter side to one of `short`, longer side at most `long`, ratio kept to the pixel."""

    def __init__(self, short: int | Sequence[int], long: int) -> None:
        super().__init__()
        self.short = [short] if isinstance(short, int) else list(short)
        self.long = long
        if not self.short or min(*self.short, long) < 8:
            raise UsageError(f"short={short}, long={long}: image sizes must be at least 8 pixels")

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = v2.query_size(flat_inputs)
        short = self.short[int(torch.randint(len(self.short), ()))]
        scale = min(short / min(height, width), self.long / max(height, width))
        return {"size": [max(1, round(height * scale)), max(1, round(width * scale))]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return v2.functional.resize(inpt, params["size"], antialias=True)
