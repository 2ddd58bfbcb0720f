"""Pictures of coloured rectangles, and where their colours are found again after an augmentation.

Shape legend: N rectangles; H, W picture height and width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from data.loader import PADDING_RGB
from data.sample import Sample

# The label of a rectangle is the row of its colour.
COLORS = torch.tensor(
    [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255)]
).float()
_BACKGROUNDS = torch.tensor([(0, 0, 0), PADDING_RGB]).float()


def painted(seed: int, labels: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """A black picture with one rectangle of each colour in `labels`, in a row and apart from each other."""
    rng = np.random.default_rng(seed)
    height, column = rng.integers(50, 110), rng.integers(30, 60)
    image_3HW = torch.zeros(3, height, column * max(1, len(labels)), dtype=torch.uint8)
    boxes = []
    for number, label in enumerate(labels):
        w, h = rng.integers(10, column - 8), rng.integers(10, height)
        x, y = column * number + rng.integers(4, column - 3 - w), rng.integers(0, height - h + 1)
        image_3HW[:, y : y + h, x : x + w] = COLORS[label].to(torch.uint8).view(3, 1, 1)
        boxes.append((x, y, x + w, y + h))
    return image_3HW, torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(labels).long()


def raw_sample(seed: int, *labels: int, problem: str | None = None) -> Sample:
    """The same as a sample without a transform; its id is the seed."""
    image, boxes_N4, labels_N = painted(seed, labels)
    return Sample(image, boxes_N4, labels_N, seed, (image.shape[1], image.shape[2]), problem)


def colored(image_3HW: Tensor, label: int) -> Tensor:
    """(H, W) bool: the pixels that are nearer to this colour than to another or to a background."""
    pixels = image_3HW.permute(1, 2, 0).reshape(-1, 3).float()
    nearest = torch.cdist(pixels, torch.cat((COLORS, _BACKGROUNDS))).argmin(dim=1)
    return (nearest == label).view(image_3HW.shape[1:])


def extent(mask_HW: Tensor) -> list[float]:
    """The box around the true pixels."""
    rows, columns = mask_HW.any(dim=1).nonzero().flatten(), mask_HW.any(dim=0).nonzero().flatten()
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


def assert_boxes_bound_their_colors(image_3HW: Tensor, boxes_N4: Tensor, labels_N: Tensor) -> None:
    """Every box lies in the picture and is that of the rectangle of its label, to within two pixels."""
    height, width = image_3HW.shape[1:]
    assert len(set(labels_N.tolist())) == len(labels_N)
    for (x1, y1, x2, y2), label in zip(boxes_N4.tolist(), labels_N.tolist(), strict=True):
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        mask_HW = colored(image_3HW, label)
        if mask_HW.any():
            difference = np.abs(np.array(extent(mask_HW)) - (x1, y1, x2, y2)).max()
            assert difference <= 2
        else:  # blurred away: only what is a pixel or two thin may be
            assert min(x2 - x1, y2 - y1) < 2
