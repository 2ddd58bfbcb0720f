"""The arrays of an annotation file are kept, as long as the file stays what it is."""

from __future__ import annotations

import json
import os
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from data.coco import cached
from data.coco.annotations import Annotations
from data.coco.cached import annotations_of
from data.coco.read import read_annotations
from tests.helpers.counted import counted


@pytest.fixture
def file(tiny_coco: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cached, "LARGE", 1)
    path = tiny_coco / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["categories"][0]["supercategory"] = "indoor"
    path.write_text(json.dumps(content))
    return path


def assert_equal(one: Annotations, other: Annotations) -> None:
    for name, value in vars(one).items():
        np.testing.assert_array_equal(
            np.asarray(value, dtype=object), np.asarray(getattr(other, name), object)
        )
        assert type(getattr(other, name)) is type(value)
        if isinstance(value, np.ndarray):
            assert getattr(other, name).dtype == value.dtype


def test_the_second_time_nothing_is_read(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, expected = annotations_of(file, tmp_path / "cache"), read_annotations(file)
    monkeypatch.setattr(cached, "read_annotations", lambda path: pytest.fail("read again"))
    assert_equal(first, expected)
    assert_equal(annotations_of(file, tmp_path / "cache"), expected)


@pytest.mark.parametrize("size", [0, 7])
def test_a_changed_file_is_read_again(file: Path, tmp_path: Path, size: int) -> None:
    annotations_of(file, tmp_path)
    text = file.read_text().replace("toothbrush", "toothbrusH") + " " * size
    stat = file.stat()
    file.write_text(text)
    if size:  # another size at the same time, or another time at the same size
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    else:
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert annotations_of(file, tmp_path).class_names == ("car", "train", "toothbrusH")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken"])
def test_a_broken_cache_is_replaced(file: Path, tmp_path: Path, content: bytes) -> None:
    expected = annotations_of(file, tmp_path / "cache")
    (cache,) = (tmp_path / "cache").glob("*.npz")
    cache.write_bytes(content)
    assert_equal(annotations_of(file, tmp_path / "cache"), expected)
    assert cache.stat().st_size > 1000
    assert not list(cache.parent.glob("*.part"))


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(file: Path, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file where the folder should be")
    assert_equal(annotations_of(file, tmp_path / "blocked" / "cache"), read_annotations(file))


def test_small_files_leave_no_trace(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "LARGE", file.stat().st_size + 1)
    annotations_of(file, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_several_processes_read_once(file: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with get_context("forkserver").Pool(4) as pool:
        counts = pool.map(counted, [(file, tmp_path / "cache", log)] * 8, chunksize=2)
    assert set(counts) == {len(read_annotations(file).ids_A)}
    assert log.read_text() == "read\n"
