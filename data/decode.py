"""Image files to tensors; JPEG by simplejpeg where it is installed, everything else by Pillow.

Both give the same pixels: they use one library, whose pixels simplejpeg hands over without a copy in between.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data.header import header_problem

try:
    import simplejpeg
except ImportError:  # of the extra `fast`
    simplejpeg = None

_JPEG = b"\xff\xd8\xff"
_COLORS = ("YCbCr", "Gray", "RGB")  # CMYK becomes RGB in another way
_FACTORS = (8, 4, 2)


def decode(path: Path, size: tuple[int, int], least: tuple[int, int] | None = None) -> Tensor:
    """The pixels of an image file as (3, H, W) uint8 RGB, channels last in memory.

    An EXIF orientation is ignored: boxes refer to the pixels as stored.

    Args:
        size: (height, width) that the file must have.
        least: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, as long as no side falls below these.

    Raises:
        ValueError: if the file has another size or more than 8 bits.
        Exception: whatever a decoder raises on broken bytes.
    """
    content = path.read_bytes()
    factor = _factor(size, least) if content.startswith(_JPEG) else 1
    if simplejpeg is not None and content.startswith(_JPEG):
        try:
            *found, colors, _ = simplejpeg.decode_jpeg_header(content)
            if tuple(found) == size and colors in _COLORS:
                height, width = _at(factor, size)
                pixels = simplejpeg.decode_jpeg(content, "RGB", min_height=height, min_width=width)
                return torch.from_numpy(pixels).permute(2, 0, 1)
        except ValueError:
            pass  # damaged: Pillow decides
    with Image.open(BytesIO(content)) as file:
        problem = header_problem(file, size)
        if problem:
            raise ValueError(problem)
        if factor > 1:
            file.draft("RGB", (size[1] // factor, size[0] // factor))
        pixels = np.array(file if file.mode == "RGB" else file.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _factor(size: tuple[int, int], least: tuple[int, int] | None) -> int:
    """The largest of 8, 4, 2, 1 by which both sides may shrink without falling below `least`."""
    for factor in _FACTORS if least is not None else ():
        if all(side >= wanted for side, wanted in zip(_at(factor, size), least or (), strict=True)):
            return factor
    return 1


def _at(factor: int, size: tuple[int, int]) -> tuple[int, int]:
    """The size at which a JPEG is decoded, rounded up."""
    return -(-size[0] // factor), -(-size[1] // factor)
