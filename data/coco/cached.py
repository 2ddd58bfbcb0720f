"""Annotations of large files are read once per machine: their arrays lie in a cache file.

The file is known by its path, size and time of change. The processes of a machine wait for the first of them,
which reads the annotations and writes the arrays; all others, and later runs, load these.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from data.coco.annotations import Annotations
from data.coco.read import read_annotations

LARGE = 32_000_000  # bytes; smaller files are read in a fraction of a second
_VERSION = 1  # of the arrays: another one is read anew


def annotations_of(path: Path, folder: Path | None) -> Annotations:
    """The annotations of a COCO-format file, from `folder` if they lie there.

    A folder that cannot be written costs time and nothing else.

    Args:
        folder: of the cache files, which is created; None reads the file in any case.

    Raises:
        UsageError: as `read_annotations`.
    """
    if folder is None or not path.is_file() or path.stat().st_size < LARGE:
        return read_annotations(path)
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    cache = folder / f"{path.stem}-{name}.npz"
    with one_at_a_time(cache.with_suffix(".lock")):
        stat = path.stat()
        stamp = np.array([_VERSION, stat.st_size, stat.st_mtime_ns])
        truth = _load(cache, stamp)
        if truth is None:
            truth = read_annotations(path)
            with suppress(OSError):
                _save(cache, stamp, truth)
        return truth


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Lets one process at a time go on; all of them, where the file system knows no locks."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl

        file = path.open("a")
    except (ImportError, OSError):
        yield
        return
    with file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _load(cache: Path, stamp: np.ndarray) -> Annotations | None:
    """What the cache file holds, or None if there is none, it is of another file, or it is broken."""
    try:
        with np.load(cache, allow_pickle=False) as arrays:
            if not np.array_equal(arrays["stamp"], stamp):
                return None
            values = {field.name: arrays[field.name] for field in fields(Annotations)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    values["class_names"] = tuple(values["class_names"].tolist())
    values["category_ids"] = tuple(values["category_ids"].tolist())
    values["supercategories"] = tuple(name or None for name in values["supercategories"].tolist())
    return Annotations(**values)


def _save(cache: Path, stamp: np.ndarray, truth: Annotations) -> None:
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in vars(truth).items()}
    arrays |= {"stamp": stamp, "supercategories": np.array([name or "" for name in truth.supercategories])}
    part = cache.with_suffix(f".{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.savez(file, **arrays)
        os.replace(part, cache)
    finally:
        part.unlink(missing_ok=True)
