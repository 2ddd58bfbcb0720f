"""Reads a COCO-format JSON file and names whatever is wrong with it.

The types of the structs below are the checks of each field; what types cannot say (repeated ids, ids that
point to nothing, paths that leave the image folder) is checked on the arrays.

Shape legend: I images, A annotations of all images, C categories, X entries of one list of the file.
"""

from __future__ import annotations

import json
import re
from itertools import chain
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta, Raw, Struct

from data.coco.annotations import Annotations
from data.coco.explain import REMEDY, explain, short
from errors import UsageError

_Id = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Pixels = Annotated[int, Meta(ge=1, le=2**31 - 1)]
_Path = Annotated[str, Meta(min_length=1, max_length=1024)]  # one long name would widen all rows of an array


class _Image(Struct, gc=False):
    id: _Id
    file_name: _Path
    height: _Pixels
    width: _Pixels


class _Category(Struct, gc=False):
    id: _Id
    name: str | int | float | None = None
    supercategory: str | int | float | None = None


class _Annotation(Struct, gc=False):
    image_id: _Id
    category_id: _Id
    bbox: tuple[float, float, float, float]
    id: _Id | None = None
    area: float | None = None
    iscrowd: bool | int | None = None


class _File(Struct, gc=False):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


class _Parts(Struct, gc=False):
    images: list[_Image]
    annotations: Raw
    categories: list[_Category]


_PIECE = 8_000_000  # bytes
_BETWEEN = re.compile(rb"\}\s*,\s*\{")


def read_annotations(path: Path) -> Annotations:
    """Reads and checks a COCO-format file.

    Raises:
        UsageError: if the file is missing, is not JSON or not COCO's layout, or if ids are repeated or point
            to nothing.
    """
    images, categories, columns = _load(path)
    if not images or not categories:
        empty = "categories" if images else "images"
        raise UsageError(f"{path}: its list of {empty} is empty; is it the right file?")
    categories.sort(key=lambda category: category.id)
    image_ids_I = np.array([image.id for image in images], dtype=np.int64)
    category_ids_C = np.array([category.id for category in categories], dtype=np.int64)
    _check_unique(path, "images", image_ids_I)
    _check_unique(path, "categories", category_ids_C)
    _check_unique(path, "annotations", columns.ids)
    _check_names(path, [image.file_name for image in images])
    image_A = _rows(path, "image_id", columns.image_ids, image_ids_I, columns.ids)
    label_A = _rows(path, "category_id", columns.category_ids, category_ids_C, columns.ids)
    order_A = np.argsort(image_A, kind="stable")
    with np.errstate(invalid="ignore", over="ignore"):
        full_A = columns.xywh[:, 2] * columns.xywh[:, 3]
    area_A = np.where(np.isnan(columns.area), full_A, columns.area)
    return Annotations(
        class_names=tuple(str(entry.id if entry.name is None else entry.name) for entry in categories),
        category_ids=tuple(category_ids_C.tolist()),
        supercategories=tuple(map(_supercategory, categories)),
        image_ids_I=image_ids_I,
        file_names_I=np.array([image.file_name for image in images]),
        size_I2=np.array([(image.height, image.width) for image in images], dtype=np.int64),
        start_I=np.concatenate(([0], np.bincount(image_A, minlength=len(images)).cumsum())).astype(np.int64),
        xywh_A4=columns.xywh[order_A],
        area_A=area_A[order_A],
        labels_A=label_A[order_A],
        crowd_A=columns.crowd[order_A],
        ids_A=columns.ids[order_A],
    )


class _Columns(NamedTuple):
    """The fields of annotations in the order of the file; an area that is not given is NaN."""

    ids: np.ndarray
    image_ids: np.ndarray
    category_ids: np.ndarray
    xywh: np.ndarray
    area: np.ndarray
    crowd: np.ndarray

    @classmethod
    def of(cls, entries: list[_Annotation], rows_before: int = 0) -> _Columns:
        """The columns of `entries`, which follow `rows_before` others; an id that is not given is the row."""
        count = len(entries)
        numbered = enumerate(entries, start=rows_before + 1)
        sides = chain.from_iterable(entry.bbox for entry in entries)
        areas = (np.nan if entry.area is None else entry.area for entry in entries)
        return cls(
            np.fromiter((row if entry.id is None else entry.id for row, entry in numbered), np.int64, count),
            np.fromiter((entry.image_id for entry in entries), np.int64, count),
            np.fromiter((entry.category_id for entry in entries), np.int64, count),
            np.fromiter(sides, np.float64, 4 * count).reshape(-1, 4),
            np.fromiter(areas, np.float64, count),
            np.fromiter((bool(entry.iscrowd) for entry in entries), bool, count),
        )


def _load(path: Path) -> tuple[list[_Image], list[_Category], _Columns]:
    if not path.is_file():
        raise UsageError(f"annotation file {path} does not exist; {REMEDY}")
    content = path.read_bytes()
    try:
        # Not strict: some programs write numbers as strings or sizes as 480.0.
        parts = msgspec.json.decode(content, type=_Parts, strict=False)
        return parts.images, parts.categories, _in_pieces(memoryview(parts.annotations))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass  # NaN, a byte order mark, objects in lists of an annotation, or an error, which is named below
    try:
        plain = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON ({error}); {REMEDY}") from None
    try:
        file = msgspec.convert(plain, _File, strict=False)
    except UnicodeEncodeError as error:
        raise UsageError(f"{path} holds text that is not Unicode ({error}); {REMEDY}") from None
    except (msgspec.ValidationError, RecursionError) as error:
        explain(path, plain, str(error))
    return file.images, file.categories, _Columns.of(file.annotations)


def _in_pieces(array: memoryview) -> _Columns:
    """The columns of a JSON array, decoded a few megabytes at a time to spare memory.

    A cut that does not fall between two annotations leaves a bracket or a quote open on either side.

    Raises:
        msgspec.DecodeError: in this case, and for whatever is wrong with an annotation.
    """
    decoder = msgspec.json.Decoder(list[_Annotation], strict=False)
    pieces: list[_Columns] = []
    begin, end, rows = 1, len(array) - 1, 0
    while begin < end:
        gap = _BETWEEN.search(array, min(begin + _PIECE, end), end)
        cut, following = (gap.start() + 1, gap.end() - 1) if gap else (end, end)
        entries = decoder.decode(b"[" + array[begin:cut] + b"]")
        pieces.append(_Columns.of(entries, rows))
        begin, rows = following, rows + len(entries)
    if not pieces:
        return _Columns.of(decoder.decode(array))
    return _Columns(*(np.concatenate(column) for column in zip(*pieces, strict=True)))


def _check_unique(path: Path, kind: str, ids_X: np.ndarray) -> None:
    values, counts = np.unique(ids_X, return_counts=True)
    repeated = values[counts > 1].tolist()
    if repeated:
        raise UsageError(
            f"{path}: {len(repeated)} ids are repeated in {kind}: {repeated[:5]}; each must be unique"
        )


def _check_names(path: Path, names: list[str]) -> None:
    outside = [name for name in names if name.startswith("/") or ".." in name.replace("\\", "/").split("/")]
    if outside:
        raise UsageError(
            f"{path}: {len(outside)} images lie outside the image folder, such as {short(outside[0])}; "
            "expected paths below it, without .. and not absolute"
        )


def _rows(path: Path, key: str, value_A: np.ndarray, known_X: np.ndarray, ids_A: np.ndarray) -> np.ndarray:
    """(A,) int64: where in `known_X` each annotation's image_id or category_id stands."""
    order_X = np.argsort(known_X)
    place_A = np.searchsorted(known_X, value_A, sorter=order_X).clip(max=len(known_X) - 1)
    row_A = order_X[place_A]
    wrong_A = known_X[row_A] != value_A
    if wrong_A.any():
        first = int(wrong_A.argmax())
        kind = {"image_id": "images", "category_id": "categories"}[key]
        raise UsageError(
            f"{path}: annotation {ids_A[first]} has {key} {value_A[first]}, which is not among the {kind} "
            "of the file"
        )
    return row_A


def _supercategory(category: _Category) -> str | None:
    name = category.supercategory
    return None if name in (None, "", "none") else str(name)  # some exporters write "none"
