"""Images that stand in both splits, in the same file or saved anew: what a network has seen tests nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

_SIDE = 16  # px of the thumbnails
_DIFFERENCE = 2.0  # grey levels, root mean square; another size or quality of a JPEG makes less than one
_CONTRAST = 4.0  # standard deviation of the grey levels; flatter thumbnails tell nothing
_ROWS = 1024  # images that are compared with all others at a time


def duplicates(
    one: Sequence[Path], other: Sequence[Path], done: Callable[[], object] = lambda: None
) -> list[tuple[Path, Path]]:
    """Pairs of a file of `one` and a file of `other` that show the same picture, by thumbnails in grey.

    Args:
        done: is called after each image.
    """
    (first, paths), (second, others) = _thumbnails(one, done), _thumbnails(other, done)
    limit = _DIFFERENCE**2 * _SIDE**2
    pairs: list[tuple[Path, Path]] = []
    for start in range(0, len(second), _ROWS):
        part = second[start : start + _ROWS]
        # |a - b|^2 by one matrix product: millions of pairs take seconds.
        distance = (first**2).sum(axis=1)[:, None] + (part**2).sum(axis=1) - 2 * first @ part.T
        pairs += [(paths[a], others[start + b]) for a, b in np.argwhere(distance < limit).tolist()]
    return pairs


def _thumbnails(paths: Sequence[Path], done: Callable[[], object]) -> tuple[np.ndarray, list[Path]]:
    """(N, 256) float32, and the files that they show."""
    found, kept = [np.zeros((0, _SIDE**2), np.float32)], []
    with ThreadPoolExecutor(4) as pool:
        for path, picture in zip(paths, pool.map(_thumbnail, paths), strict=True):
            if picture is not None:
                found.append(picture.reshape(1, -1) - 128)  # around zero, which spares float32 digits
                kept.append(path)
            done()
    return np.concatenate(found), kept


def _thumbnail(path: Path) -> np.ndarray | None:
    """(16, 16) float32 in grey, or None of a file that cannot be read or shows nothing."""
    try:
        with Image.open(path) as file:
            file.draft("L", (4 * _SIDE, 4 * _SIDE))
            picture = np.asarray(file.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32)
    except Exception:  # decoders raise nearly anything; training names such files
        return None
    return picture if picture.std() > _CONTRAST else None
