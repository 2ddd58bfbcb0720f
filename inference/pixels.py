"""Images as the network sees them: read, resized and padded with Pillow and numpy alone.

Shape legend: H, W height and width in pixels, N values of one row, V output rows, X input rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from errors import UsageError
from inference.record import Padding

_BLOCK = 32  # output rows that are computed in one matrix product


def read(image: Any, upright: bool = True) -> np.ndarray:
    """The pixels of an image, (H, W, 3) uint8 RGB.

    Args:
        image: a path, a PIL image, or an array (H, W), (H, W, 3) or (H, W, 4) of uint8 RGB.
        upright: turn a photograph as its EXIF orientation says. COCO's boxes refer to the pixels as stored.

    Raises:
        UsageError: naming the file and what is wrong with it.
    """
    if isinstance(image, str | Path):
        path = Path(image)
        if not path.is_file():
            raise UsageError(f"{path}: no such image")
        if path.stat().st_size == 0:
            raise UsageError(f"{path}: not an image, the file has zero bytes")
        try:
            with Image.open(path) as file:
                return _rgb(file, upright)
        except Exception as error:  # decoders raise nearly anything on broken bytes
            raise UsageError(f"{path}: not a readable image ({_reason(error, path)})") from error
    if isinstance(image, Image.Image):
        return _rgb(image, upright)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.size == 0 or image.ndim not in (2, 3):
            raise UsageError(f"an array of shape {image.shape} and {image.dtype}: (H, W, 3) uint8 is needed")
        if image.ndim == 2:
            return np.repeat(image[..., None], 3, axis=2)
        if image.shape[2] in (3, 4):
            return image[..., :3]
        raise UsageError(f"an array of shape {image.shape}: the last axis must hold red, green and blue")
    raise UsageError(f"{type(image).__name__}: give a path, a PIL image or an array (H, W, 3) of uint8")


def _rgb(file: Image.Image, upright: bool) -> np.ndarray:
    if file.mode.startswith(("I", "F")):
        raise UsageError(f"more than 8 bits per channel, mode {file.mode}: convert it to 8 bits")
    turned = ImageOps.exif_transpose(file) if upright else file
    return np.array(turned if turned.mode == "RGB" else turned.convert("RGB"))


def _reason(error: Exception, path: Path) -> str:
    words = str(error).replace(f" {str(path)!r}", "").strip()
    return words or type(error).__name__


def canvas(image_HW3: np.ndarray, size: tuple[int, int], padding: Padding) -> np.ndarray:
    """The network input of an image: resized to `size` (height, width) and padded; (3, H, W) uint8."""
    height, width = padding.canvas(*size)
    canvas_3HW = np.empty((3, height, width), dtype=np.uint8)
    canvas_3HW[:] = np.array(padding.color, dtype=np.uint8)[:, None, None]
    canvas_3HW[:, : size[0], : size[1]] = resized(image_HW3, *size).transpose(2, 0, 1)
    return canvas_3HW


def resized(image_HW3: np.ndarray, height: int, width: int) -> np.ndarray:
    """An image in another size, antialiased and bilinear; equal to torchvision's resize bit for bit.

    Training and evaluation resize with torchvision. Pillow's own resize differs from it by one grey level in
    some pixels, since its weights have more bits; such differences change scores in the third digit.
    """
    if width != image_HW3.shape[1]:
        image_HW3 = _rows_resized(image_HW3.transpose(1, 0, 2), width).transpose(1, 0, 2)
    if height != image_HW3.shape[0]:
        image_HW3 = _rows_resized(image_HW3, height)
    return image_HW3


def _rows_resized(image_HW3: np.ndarray, rows: int) -> np.ndarray:
    """The image with another number of rows.

    Each output row is a weighted sum of a few input rows. Blocks of them are matrix products, whose whole
    numbers float64 holds exactly.
    """
    first_V, weight_VX, bits = _weights(image_HW3.shape[0], rows)
    result = np.empty((rows, *image_HW3.shape[1:]), dtype=np.uint8)
    for start in range(0, rows, _BLOCK):
        first_v, weight_vx = first_V[start : start + _BLOCK], weight_VX[start : start + _BLOCK]
        low, high = first_v[0], min(first_v[-1] + weight_vx.shape[1], image_HW3.shape[0])
        dense_vx = np.zeros((len(first_v), high - low + weight_vx.shape[1]))
        columns = (first_v - low)[:, None] + np.arange(weight_vx.shape[1])
        np.put_along_axis(dense_vx, columns, weight_vx, axis=1)
        taken_xN = image_HW3[low:high].reshape(high - low, -1).astype(np.float64)
        sums_vN = (dense_vx[:, : high - low] @ taken_xN).astype(np.int64)
        values_vN = (sums_vN + (1 << (bits - 1))) >> bits
        result[start : start + _BLOCK] = values_vN.clip(0, 255).reshape(-1, *image_HW3.shape[1:])
    return result


def _weights(rows_in: int, rows_out: int) -> tuple[np.ndarray, np.ndarray, int]:
    """The first input row of each output row, the weights from there on, and their number of fraction bits.

    The weights are a triangle as wide as two input rows, or two output rows where those are wider. They are
    rounded to whole numbers of at most 15 bits, as torch rounds them.
    """
    scale = rows_in / rows_out
    reach = max(scale, 1.0)
    center_V = (np.arange(rows_out) + 0.5) * scale
    first_V = np.maximum((center_V - reach + 0.5).astype(np.int64), 0)
    count_V = np.minimum((center_V + reach + 0.5).astype(np.int64), rows_in) - first_V
    step_X = np.arange(count_V.max())
    distance_VX = np.abs(step_X + first_V[:, None] - center_V[:, None] + 0.5) / reach
    weight_VX = np.where(step_X < count_V[:, None], np.maximum(1 - distance_VX, 0), 0)
    weight_VX /= weight_VX.sum(axis=1, keepdims=True)
    bits = 0
    while bits < 22 and int(0.5 + weight_VX.max() * (1 << (bits + 1))) < 1 << 15:
        bits += 1
    return first_V, np.floor(weight_VX * (1 << bits) + 0.5), bits
