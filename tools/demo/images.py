"""The images of the page: uploads, which are checked, and samples."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from data.shapes.dataset import ShapesDataset
from errors import UsageError
from inference.pixels import read
from inference.sources import Video, find

MOST_BYTES = 20 * 2**20
MOST_PIXELS = 40_000_000


def decode_upload(content: bytes) -> np.ndarray:
    """The pixels of an uploaded file, (H, W, 3) uint8 RGB, upright.

    Raises:
        UsageError: if it is no image, a broken one, or one of more than MOST_PIXELS.
    """
    if not content:
        raise UsageError("the upload is no image: it has zero bytes")
    try:
        with Image.open(BytesIO(content)) as file:  # reads the header only
            if file.width * file.height > MOST_PIXELS:
                raise UsageError(
                    f"the upload has {file.width} x {file.height} pixels: at most {MOST_PIXELS // 10**6} "
                    "million are taken, make it smaller"
                )
            return read(file)
    except UsageError:
        raise
    except Exception as error:  # decoders raise nearly anything on broken bytes
        raise UsageError("the upload is no readable image: choose a JPEG, PNG or WebP file") from error


def png(image_HW3: np.ndarray) -> bytes:
    """An image as a PNG file."""
    out = BytesIO()
    Image.fromarray(image_HW3).save(out, "PNG", compress_level=1)
    return out.getvalue()


class Samples:
    """Sample images: those of a folder, or of val2017 in a data set's root, or drawn shapes without a folder.

    Raises:
        UsageError: if the folder is missing or holds no image.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.files: list[Path] = []
        if folder is not None:
            inner = Path(folder) / "val2017"
            found = find(str(inner if inner.is_dir() else folder))
            if isinstance(found, Video):
                raise UsageError(f"data={folder} is a video: give a folder of images")
            self.files = found
        self.drawn = ShapesDataset(64, 256, seed=7)

    def __getitem__(self, number: int) -> np.ndarray:
        """The pixels of a sample, (H, W, 3) uint8 RGB; after the last one the first follows.

        Raises:
            UsageError: if its file is broken.
        """
        if self.files:
            return read(self.files[number % len(self.files)])
        return np.ascontiguousarray(self.drawn[number % len(self.drawn)].image.permute(1, 2, 0).numpy())
