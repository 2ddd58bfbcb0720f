"""What every data set returns, and how an image's augmentation is made repeatable.

Shape legend:
    H, W image height and width, N boxes of one image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

# (image_3HW uint8, boxes_N4, labels_N) -> the same three.
Transform = Callable[..., tuple[Tensor, Tensor, Tensor]]

# The label of a region whose objects are not annotated one by one: background inside it is not punished.
IGNORED = -1

# A plain index, or (epoch, index) for training, where each epoch has its own augmentation.
Index = int | tuple[int, int]


@dataclass(frozen=True)
class Sample:
    """One image and its truths, after the transform.

    Attributes:
        image: (3, H, W) uint8, RGB.
        boxes_N4: float32, (x1, y1, x2, y2) in pixels of `image`.
        labels_N: int64, 0 to classes - 1, or IGNORED.
        image_id: the id that the annotations use.
        original_size: (height, width) before the transform.
        problem: why this is not the image that was asked for ("file: reason"), else None.
    """

    image: Tensor
    boxes_N4: Tensor
    labels_N: Tensor
    image_id: int
    original_size: tuple[int, int]
    problem: str | None = None


class DetectionDataset(Protocol):
    """The interface that `CocoDataset` and `ShapesDataset` share."""

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def category_ids(self) -> tuple[int, ...]: ...

    @property
    def size_I2(self) -> np.ndarray:
        """(height, width) of each image before the transform."""
        ...

    def planned(self, index: Index, /) -> Sample:
        """The sample of `index` with its image on the meta device: its size and boxes without any pixel.

        An image that cannot be decoded is not found out.
        """
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Index, /) -> Sample: ...

    def coco_json(self) -> dict[str, Any]: ...


def transformed(
    transform: Transform | None,
    image: Tensor,
    boxes_N4: Tensor,
    labels_N: Tensor,
    key: tuple[int, int, int],
    **options: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Applies `transform` with randomness that depends on `key` (seed, epoch, index) only.

    The global torch generator is left as it was, so the result is the same in any number of workers.

    Args:
        options: more arguments of the transform.
    """
    if transform is None:
        return image, boxes_N4, labels_N
    state = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
    before = torch.default_generator.get_state()
    try:
        torch.default_generator.manual_seed(state)
        return transform(image, boxes_N4, labels_N, **options)
    finally:
        torch.default_generator.set_state(before)
