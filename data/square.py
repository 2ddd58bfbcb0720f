"""Images resized to squares, ratio not kept, all images of a step to one size (PicoDet's recipe).

It is done where a batch is made, since one image does not know the size of the others.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torchvision.transforms import v2

from data.sample import Sample


def squared(sample: Sample, side: int) -> Sample:
    """The sample with both sides of its image at `side` px; boxes left with a side below 1 px are removed."""
    height, width = sample.image.shape[1:]
    image = v2.functional.resize(sample.image, [side, side], antialias=True)
    boxes_N4 = sample.boxes_N4 * torch.tensor([side / width, side / height] * 2)
    keep_N = (boxes_N4[:, 2:] - boxes_N4[:, :2] >= 1).all(dim=1)
    return replace(sample, image=image, boxes_N4=boxes_N4[keep_N], labels_N=sample.labels_N[keep_N])
