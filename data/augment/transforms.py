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

from data.loader import PADDING_RGB
from errors import UsageError

MIN_LEFT = 0.25  # of a box's area: an object that is cut more than this is no truth, as in data.scenes


def train_transform(
    short: int | Sequence[int] | None,
    long: int,
    flip: float = 0.5,
    photometric: bool | str = False,
    expand: float = 0.0,
    crop: float = 0.0,
    scale_jitter: Sequence[float] | None = None,
) -> BoxTransform:
    """Expand, crop, resize, flip and colours, in this order; by default only resize and flip.

    Args:
        short: the wanted shorter side in pixels; one of several is drawn for each image. None leaves the
            resizing to the loader, see `data.square`.
        long: the longer side never exceeds this, whatever `short` says.
        flip: the probability of a horizontal flip.
        photometric: True varies brightness, contrast, saturation and hue a little; "strong" does it as SSD,
            each with probability 0.5, contrast first or last, and permutes the channels of some images;
            "distort" varies brightness, contrast and saturation by up to a half and hue by 18 degrees, each
            with probability 0.5, in random order (PaddleDetection's RandomDistort).
        expand: the probability of a random place on a canvas of up to 4 times the sides (SSD, arXiv
            1512.02325, section 3.6).
        crop: the probability of a crop around some object (SSD, section 2.2) of at least 0.3 of each side,
            whose least IoU with an object is drawn; one of the seven values leaves the image as it is.
        scale_jitter: (low, high) in place of `short`: the image, fitted into a square of side `long`, is
            scaled by a factor from this range, then cut or padded to the square at a random place
            (large-scale jitter, arXiv 2012.07177).

    Raises:
        UsageError: if a size is below 8 or a probability is none.
    """
    for name, value in (("flip", flip), ("expand", expand), ("crop", crop)):
        if not 0 <= value <= 1:
            raise UsageError(f"{name}={value} is not a probability; choose 0 to 1")
    fill: dict[Any, Any] = {tv_tensors.Image: PADDING_RGB, "others": 0}
    steps: list[Any] = []
    if expand > 0:
        steps.append(v2.RandomZoomOut(fill=fill, side_range=(1.0, 4.0), p=expand))
    if crop > 0:
        steps.append(v2.RandomApply([Cut(IoUCrop())], p=crop))
    if scale_jitter is None:
        if short is not None:
            steps.append(KeepRatioResize(short, long))
    else:
        low, high = scale_jitter
        square = v2.RandomCrop(long, pad_if_needed=True, fill=fill)
        steps += [ScaleJitter((long, long), (low, high)), Cut(square)]
    steps.append(v2.RandomHorizontalFlip(flip))
    colors: list[Any] = []
    if photometric == "strong":
        colors.append(v2.RandomPhotometricDistort())
    elif photometric == "distort":
        ranges: list[dict[str, float]] = [
            {"brightness": 0.5}, {"contrast": 0.5}, {"saturation": 0.5}, {"hue": 0.05},
        ]  # fmt: skip
        colors.append(v2.RandomOrder([v2.RandomApply([v2.ColorJitter(**r)], p=0.5) for r in ranges]))
    elif photometric:
        colors.append(v2.ColorJitter(brightness=0.25, contrast=0.25, saturation=0.25, hue=0.03))
    return BoxTransform(steps, colors)


def eval_transform(short: int, long: int, square: bool = False) -> BoxTransform:
    """Resize only: shorter side `short`, longer side at most `long`; or a square of side `short`."""
    resize = v2.Resize((short, short), antialias=True) if square else KeepRatioResize(short, long)
    return BoxTransform([resize])


class BoxTransform:
    """Runs v2 transforms on an image and its boxes; returns plain tensors.

    Boxes are clamped to the image, and those left with a side below one pixel are removed.

    Args:
        steps: what moves pixels and boxes.
        colors: what comes after that, which an image on the meta device is spared.
    """

    def __init__(self, steps: Sequence[Any], colors: Sequence[Any] = ()) -> None:
        self.steps, self.colors = v2.Compose([*steps, v2.ClampBoundingBoxes()]), colors

    def __call__(self, image: Tensor, boxes_N4: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = (image.shape[-2], image.shape[-1])
        boxes = tv_tensors.BoundingBoxes(boxes_N4.reshape(-1, 4), format="XYXY", canvas_size=size)
        image, boxes = self.steps(tv_tensors.Image(image), boxes)
        for color in () if image.is_meta else self.colors:
            image = color(image)
        boxes_N4 = boxes.as_subclass(Tensor)
        keep_N = (boxes_N4[:, 2:] - boxes_N4[:, :2] >= 1).all(dim=1)
        return image.as_subclass(Tensor).contiguous(), boxes_N4[keep_N], labels_N[keep_N]


def enough_left(boxes_N4: Tensor, before_N4: Tensor) -> Tensor:
    """(N,) bool: which boxes still have a quarter of their area after a cut, both in pixels of one scale."""
    area_N, before_N = (
        (corners[:, 2:] - corners[:, :2]).clamp(min=0).prod(dim=1) for corners in (boxes_N4, before_N4)
    )
    return area_N >= MIN_LEFT * before_N


class Cut:
    """A step that cuts without resizing, after which boxes of which too little is left are empty."""

    def __init__(self, step: Any) -> None:
        self.step = step

    def __call__(self, image: Any, boxes: Any) -> tuple[Any, Any]:
        image, cut = self.step(image, boxes)
        cut_N4 = cut.as_subclass(Tensor)
        left_N = enough_left(cut_N4, boxes.as_subclass(Tensor))
        return image, tv_tensors.wrap(cut_N4 * left_N[:, None], like=cut)


class IoUCrop(v2.RandomIoUCrop):
    """SSD's crop; images without boxes or of a few pixels, on which torchvision's fails, stay as they are."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        if min(v2.query_size(flat_inputs)) < 8 or len(v2.get_bounding_boxes(flat_inputs)) == 0:
            return {}
        return super().make_params(flat_inputs)


class ScaleJitter(v2.ScaleJitter):
    """torchvision's, with no side below two pixels, as in `KeepRatioResize`."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = super().make_params(flat_inputs)["size"]
        return {"size": (max(2, height), max(2, width))}


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
        # torch's resize of uint8 to a side of one pixel fails or returns other pixels.
        return {"size": [max(2, round(height * scale)), max(2, round(width * scale))]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return v2.functional.resize(inpt, params["size"], antialias=True)
