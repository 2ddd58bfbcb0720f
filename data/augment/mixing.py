"""Pictures made of several: mosaic and mix-up.

Both take raw samples, before any resizing. Boxes of which less than a quarter is left are dropped.

Shape legend:
    H, W canvas height and width, h, w those of a tile, N boxes of one image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from data.augment.transforms import enough_left
from data.loader import PADDING_RGB
from data.sample import Sample


def mosaic(samples: Sequence[Sample], side: int, rng: np.random.Generator) -> Sample:
    """Four images around a random point of a square canvas (YOLOv4, arXiv 2004.10934, section 3.3).

    Args:
        samples: four; the first one's id is that of the result.
        side: each image is fitted into a square of this side, in pixels.
        rng: draws the point, from the middle half of the canvas in both directions.

    Returns:
        A sample of 2 side x 2 side pixels. What an image has beyond the canvas is cut off; where no image
        lies, the canvas has the colour of padding.
    """
    color = torch.tensor(PADDING_RGB, dtype=torch.uint8).view(3, 1, 1)
    canvas_3HW = color.repeat(1, 2 * side, 2 * side).to(samples[0].image.device)
    center_x, center_y = rng.integers(side // 2, 2 * side - side // 2 + 1, 2).tolist()
    boxes, labels = [], []
    for number, sample in enumerate(samples):
        tile_3hw, boxes_N4 = _fitted(sample, side, side)
        height, width = tile_3hw.shape[1:]
        # Each image touches the point with one of its corners.
        left = center_x - width if number % 2 == 0 else center_x
        top = center_y - height if number < 2 else center_y
        x1, y1 = max(left, 0), max(top, 0)
        x2, y2 = min(left + width, 2 * side), min(top + height, 2 * side)
        canvas_3HW[:, y1:y2, x1:x2] = tile_3hw[:, y1 - top : y2 - top, x1 - left : x2 - left]
        whole_N4 = boxes_N4 + torch.tensor([left, top, left, top])
        cut_N4 = whole_N4.clamp(0, 2 * side)
        keep_N = enough_left(cut_N4, whole_N4)
        boxes.append(cut_N4[keep_N])
        labels.append(sample.labels_N[keep_N])
    return _joined(samples, canvas_3HW, torch.cat(boxes), torch.cat(labels))


def mix_up(sample: Sample, other: Sample, limit: tuple[int, int], rng: np.random.Generator) -> Sample:
    """Lays `other` over `sample` at half opacity; the truths of both count in full.

    As in YOLOX (arXiv 2107.08430, section 2.1) the ratio is always one half. As in the Bag of Freebies (arXiv
    1902.04103, section 3.1) shapes keep their ratio. Where `other` does not reach, pixels stay as they are.

    Args:
        sample: its size and id are those of the result.
        other: fitted into `limit` and placed at random.
        limit: (height, width) in pixels, at most those of `sample`; nothing is laid over a line of pixels.
        rng: draws the place.
    """
    if min(limit) < 2:
        return sample
    over_3hw, boxes_N4 = _fitted(other, *limit)
    height, width = over_3hw.shape[1:]
    top = int(rng.integers(0, sample.image.shape[1] - height + 1))
    left = int(rng.integers(0, sample.image.shape[2] - width + 1))
    image_3HW = sample.image.clone()
    under_3hw = image_3HW[:, top : top + height, left : left + width]
    under_3hw.copy_((under_3hw.short() + over_3hw) // 2)
    boxes_N4 = boxes_N4 + torch.tensor([left, top, left, top])
    return _joined(
        (sample, other),
        image_3HW,
        torch.cat((sample.boxes_N4, boxes_N4)),
        torch.cat((sample.labels_N, other.labels_N)),
    )


def _fitted(sample: Sample, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Image and boxes, as large as fits into height x width with the ratio kept."""
    rows, columns = sample.image.shape[1:]
    scale = min(height / rows, width / columns)
    # No side below two pixels, since torch's resize to a single one fails.
    size = [min(height, max(2, round(rows * scale))), min(width, max(2, round(columns * scale)))]
    factor = torch.tensor([size[1] / columns, size[0] / rows] * 2)
    return resize(sample.image, size, antialias=True), sample.boxes_N4 * factor


def _joined(samples: Sequence[Sample], image_3HW: Tensor, boxes_N4: Tensor, labels_N: Tensor) -> Sample:
    problems = "; ".join(sample.problem for sample in samples if sample.problem)
    size = (image_3HW.shape[1], image_3HW.shape[2])
    return Sample(image_3HW, boxes_N4, labels_N, samples[0].image_id, size, problems or None)
