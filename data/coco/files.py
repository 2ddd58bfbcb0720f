"""Whether the image files of a COCO-format set are there and as large as the annotations say.

Shape legend: I images.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from data.coco.annotations import Annotations
from data.header import header_problem
from errors import UsageError, listed

_CHECK_ALL_UP_TO = 5000  # images; of larger sets a sample is opened, so that a start takes seconds
_CHECK_SAMPLE = 2000
_FIRST, _SLOW = 64, 1e-3  # files that show how fast the disk is; seconds for each


def check_files(folder: Path, truth: Annotations) -> None:
    """Checks that all files are there, and the headers of all or, in large sets, of some.

    Raises:
        UsageError: naming the first files that are missing, no images, or of another size.
    """
    if not folder.is_dir():
        raise UsageError(f"image folder {folder} does not exist")
    names = truth.file_names_I.tolist()
    places = [name.rpartition("/") for name in names]
    there = {parent: _names_in(folder / parent) for parent in {parent for parent, _, _ in places}}
    missing = [name for name, (parent, _, own) in zip(names, places, strict=True) if own not in there[parent]]
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(names)} images are not in {folder}: {listed(missing)}; "
            "do the folder and the annotation file belong together?"
        )
    count = len(names)
    checks = count if count <= _CHECK_ALL_UP_TO else _CHECK_SAMPLE
    rows = np.linspace(0, count - 1, checks).round().astype(int)

    def check(row: int) -> str | None:
        try:
            with Image.open(folder / names[row]) as file:
                height, width = truth.size_I2[row].tolist()
                problem = header_problem(file, (height, width))
        except Exception as error:  # decoders raise nearly anything on broken bytes
            problem = f"not a readable image ({type(error).__name__})"
        return problem and f"{names[row]}: {problem}"

    problems = [problem for problem in _each(check, rows.tolist()) if problem]
    if problems:
        raise UsageError(
            f"{len(problems)} of {checks} images checked in {folder} are wrong: {listed(problems)}"
        )


def _each(check: Callable[[int], str | None], rows: list[int]) -> Iterator[str | None]:
    """The check of every row: by threads where a disk, as one in a network, takes long to answer.

    A local disk answers faster than threads take turns.
    """
    start = time.perf_counter()
    yield from map(check, rows[:_FIRST])
    if time.perf_counter() - start < _FIRST * _SLOW:
        yield from map(check, rows[_FIRST:])
        return
    with ThreadPoolExecutor(16) as pool:
        yield from pool.map(check, rows[_FIRST:])


def _names_in(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.is_dir() else set()
