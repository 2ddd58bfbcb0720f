"""Decoded images that are kept: `data.cache`, for sets that fit into memory or on a disk.

Shape legend: I images of the data set.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from errors import UsageError

_MARGIN = 0.8  # of the memory that is free, the most that the images may take


class PixelCache(Protocol):
    """Decoded images by their row in the data set, as (3, H, W) uint8, channels last in memory."""

    def get(self, row: int) -> Tensor | None: ...

    def put(self, row: int, image: Tensor) -> None: ...


def open_cache(
    kind: str | None, size_I2: np.ndarray, files: list[Path], folder: Path | None
) -> PixelCache | None:
    """The cache that `data.cache` names.

    Args:
        kind: None, "ram" or "disk".
        size_I2: (height, width) of each image.
        files: the image files.
        folder: data.cache_dir, for "disk".

    Raises:
        UsageError: if there is too little memory, or no folder.
    """
    if kind is None:
        return None
    if kind == "ram":
        return MemoryCache(size_I2)
    if folder is None:
        raise UsageError("data.cache=disk needs a folder: set data.cache_dir=DIR")
    return DiskCache(size_I2, files, folder / "pixels")


class MemoryCache:
    """In memory that a training process and its data workers share, filled as images are first read.

    Each of several training processes on a machine has its own.

    Raises:
        UsageError: if the images do not fit, or the system is not Linux.
    """

    def __init__(self, size_I2: np.ndarray) -> None:
        bytes_I = 3 * size_I2.prod(axis=1)
        self._size_I2 = size_I2
        self._start_I = np.concatenate(([0], bytes_I.cumsum()))
        needed, free = int(self._start_I[-1]), _free_memory()
        if not hasattr(os, "memfd_create"):
            raise UsageError("data.cache=ram needs Linux: choose data.cache=disk or null")
        if needed > _MARGIN * free:
            raise UsageError(
                f"data.cache=ram needs {needed / 1e9:.1f} GB for {len(size_I2)} images, and "
                f"{free / 1e9:.1f} GB are free: choose data.cache=disk or null"
            )
        # A file without a name: the system frees it with the last process that has it open, and workers that
        # are not forked open it by its number in this process.
        self._file = os.memfd_create("images")
        os.ftruncate(self._file, needed + len(size_I2))
        self._path = f"/proc/{os.getpid()}/fd/{self._file}"
        self._map()

    def _map(self) -> None:
        self._memory = np.memmap(self._path, np.uint8, "r+")
        self._pixels, self._filled_I = np.split(self._memory, [int(self._start_I[-1])])

    def __getstate__(self) -> dict[str, Any]:
        own = ("_size_I2", "_start_I", "_path")
        return {name: getattr(self, name) for name in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map()

    def get(self, row: int) -> Tensor | None:
        """The image, or None if it was not put here yet."""
        return self._view(row) if self._filled_I[row] else None

    def put(self, row: int, image: Tensor) -> None:
        """Keeps an image."""
        self._view(row).copy_(image)
        self._filled_I[row] = 1

    def _view(self, row: int) -> Tensor:
        begin, end = self._start_I[row : row + 2]
        height, width = self._size_I2[row].tolist()
        return torch.from_numpy(self._pixels[begin:end].reshape(height, width, 3)).permute(2, 0, 1)


class DiskCache:
    """One file of pixels for each image, which all processes and later runs read.

    A file that is as old as its image and as long as it must be is taken to be its pixels.
    """

    def __init__(self, size_I2: np.ndarray, files: list[Path], folder: Path) -> None:
        self._size_I2, self._folder = size_I2, folder
        self._files = np.array([str(file.absolute()) for file in files])
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{folder} cannot be written ({error.strerror}): choose data.cache_dir=DIR"
            ) from error

    def get(self, row: int) -> Tensor | None:
        """The image, or None if its pixels are not here or it has changed."""
        height, width = self._size_I2[row].tolist()
        path = self._path(row)
        try:
            stat = path.stat()
            if (
                stat.st_mtime_ns != os.stat(self._files[row]).st_mtime_ns
                or stat.st_size != 3 * height * width
            ):
                return None
            pixels = np.fromfile(path, np.uint8).reshape(height, width, 3)
        except (OSError, ValueError):
            return None
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def put(self, row: int, image: Tensor) -> None:
        """Keeps an image; on a full disk it is decoded again next time."""
        path = self._path(row)
        part = path.with_suffix(f".{os.getpid()}.part")
        with suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            stat = os.stat(self._files[row])
            image.permute(1, 2, 0).numpy().tofile(part)
            os.utime(part, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            os.replace(part, path)
        part.unlink(missing_ok=True)

    def _path(self, row: int) -> Path:
        name = hashlib.sha256(str(self._files[row]).encode(errors="surrogateescape")).hexdigest()[:24]
        return self._folder / name[:2] / f"{name[2:]}.rgb"


def _free_memory() -> int:
    """Bytes that a process may take without swapping; without Linux's count, all there are."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
