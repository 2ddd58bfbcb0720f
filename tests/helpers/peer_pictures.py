"""Ten small images with boxes for training steps of other libraries."""

import torch
from torch import Tensor


def pictures(size: int = 128, least: float = 24.0) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Images (10, 3, size, size) of noise, 0 to 1, and (boxes, labels) of 4 classes; the fourth has none.

    Sides are at least `least` px and do not overlap much, so that any assigner finds positives.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(10, 3, size, size, generator=generator)
    truths = []
    for number in range(10):
        count = 0 if number == 3 else 1 + number % 3
        side_N2 = least + (size / 2 - least) * torch.rand(count, 2, generator=generator)
        corner_N2 = torch.rand(count, 2, generator=generator) * (size - side_N2)
        labels_N = torch.randint(0, 4, (count,), generator=generator)
        truths.append((torch.cat((corner_N2, corner_N2 + side_N2), 1), labels_N))
    return images, truths
