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

from data.augment.resize import LEAST, KeepRatio, Resize, Square
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
    cuts: list[Any] = []
    if expand > 0:
        cuts.append(v2.RandomZoomOut(fill=fill, side_range=(1.0, 4.0), p=expand))
    if crop > 0:
        cuts.append(v2.RandomApply([Cut(IoUCrop())], p=crop))
    if scale_jitter is not None:
        low, high = scale_jitter
        square = v2.RandomCrop(long, pad_if_needed=True, fill=fill)
        cuts += [ScaleJitter((long, long), (low, high)), Cut(square)]
    keep_size = short is None or scale_jitter is not None
    resize = None if keep_size else KeepRatio(short, long)  # type: ignore[arg-type]  # short is not None
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
    return BoxTransform(resize, cuts, flip, colors)


def eval_transform(short: int, long: int, square: bool = False) -> BoxTransform:
    """Resize only: shorter side `short`, longer side at most `long`; or a square of side `short`."""
    return BoxTransform(Square(short) if square else KeepRatio(short, long))


class BoxTransform:
    """Cuts, a resize, a flip and colours, of an image and its boxes.

    Cuts and colours are torchvision's. Resize and flip, which every image goes through, are plain functions
    here: torchvision's classes take as long as the resize of a small image does.

    Boxes are clamped to the image, and those left with a side below one pixel are removed.

    Args:
        resize: the size of the result, or None to keep that of the cuts.
        cuts: v2 transforms that choose what is seen.
        flip: the probability of a horizontal flip, or None for none, which draws nothing.
        colors: v2 transforms of the colours; an image on the meta device is spared them.
    """

    def __init__(
        self,
        resize: Resize | None = None,
        cuts: Sequence[Any] = (),
        flip: float | None = None,
        colors: Sequence[Any] = (),
    ) -> None:
        self.resize, self.flip, self.colors = resize, flip, colors
        self.cuts = v2.Compose(list(cuts)) if cuts else None

    @property
    def reducible(self) -> bool:
        """Whether an image may come at a smaller scale, since all of it is resized."""
        return self.cuts is None and self.resize is not None

    def __call__(
        self, image: Tensor, boxes_N4: Tensor, labels_N: Tensor, size: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(image_3HW, boxes_N4, labels_N) of the result; the image may be channels last in memory.

        Args:
            size: (height, width) that the boxes refer to; default: that of the image. Only a `reducible`
                transform takes an image of another size.
        """
        boxes_N4 = boxes_N4.reshape(-1, 4)
        if self.cuts is not None:
            canvas = (image.shape[-2], image.shape[-1])
            boxes = tv_tensors.BoundingBoxes(boxes_N4, format="XYXY", canvas_size=canvas)
            image, boxes = self.cuts(tv_tensors.Image(image), boxes)
            image, boxes_N4 = image.as_subclass(Tensor), boxes.as_subclass(Tensor)
        if self.resize is not None:
            height, width = size or (image.shape[-2], image.shape[-1])
            rows, columns = self.resize.size(height, width)
            image = _resized(image, rows, columns)
            boxes_N4 = boxes_N4 * torch.tensor([columns / width, rows / height] * 2)
        rows, columns = image.shape[-2:]
        if self.flip is not None and float(torch.rand(1)) < self.flip:
            image = image if image.is_meta else image.flip(-1)
            x1_N, y1_N, x2_N, y2_N = boxes_N4.unbind(dim=1)
            boxes_N4 = torch.stack((columns - x2_N, y1_N, columns - x1_N, y2_N), dim=1)
        for color in () if image.is_meta else self.colors:
            image = color(image)
        limit = torch.tensor([columns, rows, columns, rows], dtype=boxes_N4.dtype)
        boxes_N4 = torch.minimum(boxes_N4.clamp(min=0), limit)
        keep_N = (boxes_N4[:, 2:] - boxes_N4[:, :2] >= 1).all(dim=1)
        return image, boxes_N4[keep_N], labels_N[keep_N]


def _resized(image: Tensor, rows: int, columns: int) -> Tensor:
    if image.is_meta:  # torch takes longer to find out the size than to resize a small image
        return image.new_empty((*image.shape[:-2], rows, columns))
    return v2.functional.resize_image(image, [rows, columns], antialias=True)


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
    """torchvision's, with no side below two pixels, as in `resize`."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = super().make_params(flat_inputs)["size"]
        return {"size": (max(LEAST, height), max(LEAST, width))}
