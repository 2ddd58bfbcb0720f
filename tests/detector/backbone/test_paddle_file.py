"""Paddle's pickles: what is read, and that a hostile one executes nothing."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.backbone.paddle_file import read_arrays
from errors import UsageError

WEIGHTS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "bn._mean": np.array([0.5, -1.0], dtype=np.float64),
    "empty": np.zeros((0, 3), dtype=np.float32),
    "order": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
}


class _Tensor:
    """Pickled as Paddle pickles a tensor: the call tuple((name, array))."""

    def __init__(self, name: str, value: np.ndarray) -> None:
        self.name, self.value = name, value

    def __reduce__(self) -> Any:
        return tuple, ((self.name, self.value),)


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("wrap", [lambda name, value: value, _Tensor], ids=["arrays", "tensors"])
def test_reads_what_paddle_writes(protocol: int, wrap: Callable[[str, Any], Any], tmp_path: Path) -> None:
    content = {name: wrap(name, value) for name, value in WEIGHTS.items()}
    content["StructuredToParameterName@@"] = {"conv.weight": "conv2d_0.w_0"}  # type: ignore[assignment]
    path = tmp_path / "model.pdparams"
    path.write_bytes(pickle.dumps(content, protocol))
    read = read_arrays(path)
    assert read.keys() == WEIGHTS.keys()
    for name, value in WEIGHTS.items():
        assert read[name].dtype == value.dtype
        np.testing.assert_array_equal(read[name], value)


class _Hostile:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    "make",
    [
        lambda mark: _Hostile(os.system, f"touch {mark}"),
        lambda mark: _Hostile(eval, f"open({str(mark)!r}, 'w')"),
        lambda mark: _Hostile(getattr, "text", "format"),
        lambda mark: np.array([_Hostile(os.system, f"touch {mark}")], dtype=object),
        lambda mark: _Hostile(np.ndarray, (10**15,)),
    ],
    ids=["system", "eval", "getattr", "objects", "memory"],
)
def test_a_hostile_file_executes_nothing(make: Callable[[Path], Any], protocol: int, tmp_path: Path) -> None:
    mark, path = tmp_path / "executed", tmp_path / "model.pdparams"
    path.write_bytes(pickle.dumps({"conv.weight": make(mark)}, protocol))
    with pytest.raises(UsageError, match=r"model\.pdparams (is no file of weights|is damaged)"):
        read_arrays(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged"),
        (b"\x80\x02}q\x00", "is damaged"),
        (pickle.dumps([1, 2]), "no dictionary"),
        (pickle.dumps({"epoch": 3}), "no arrays"),
    ],
)
def test_other_files(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pdparams"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_arrays(path)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_arrays(tmp_path / "absent.pdparams")
