"""Reads PaddlePaddle's weight files (.pdparams), which are pickles, without running anything they contain."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from errors import UsageError

_NDARRAY = object()  # in place of the class, which a pickle could call with any shape


def _array(kind: object, shape: tuple[int, ...], code: object) -> NDArray[Any]:
    """The empty array that NumPy's pickles begin with; any other shape could claim all memory."""
    if kind is not _NDARRAY or shape != (0,) or code not in (b"b", "b"):
        raise pickle.UnpicklingError(f"an array that starts as {kind}, {shape}, {code}")
    return np.ndarray(shape, dtype=np.int8)


def _bytes(text: str, encoding: str) -> bytes:
    """What protocol 2 makes of bytes: text in latin1."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text in {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """What protocol 2 makes of b""."""
    return b""


def _dtype(code: str, *flags: Any) -> np.dtype[Any]:
    """A number type; an array of objects could not be read as weights."""
    dtype = np.dtype(code)
    if dtype.hasobject:
        raise pickle.UnpicklingError(f"an array of type {code}")
    return dtype


# All that a state dict of arrays consists of. Paddle writes a tensor as the call tuple((name, array)).
ALLOWED: dict[tuple[str, str], Any] = {
    ("builtins", "tuple"): tuple,
    ("__builtin__", "tuple"): tuple,
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("_codecs", "encode"): _bytes,
    ("__builtin__", "bytes"): _no_bytes,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name}") from None


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a .pdparams file by their structured names.

    Raises:
        UsageError: if the file cannot be read, or holds anything but named arrays; nothing of it is executed.
    """
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file).load()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{path} is no file of weights: it holds {error}, and only arrays are read from it"
        ) from error
    except Exception as error:  # a damaged pickle raises nearly any kind
        raise UsageError(f"{path} is damaged or no .pdparams file: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds no dictionary of weights")
    arrays = {}
    for name, value in content.items():
        if isinstance(value, tuple) and len(value) == 2:
            value = value[1]
        if isinstance(value, np.ndarray):
            arrays[str(name)] = value
    if not arrays:
        raise UsageError(f"{path} holds no arrays")
    return arrays
