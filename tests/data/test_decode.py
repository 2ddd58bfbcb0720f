"""Pixels of image files: one decoder for all of them, or the fast one, give the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data import decode as module
from data.decode import decode

SIZE = (37, 52)  # no multiples of a JPEG's blocks


def picture() -> Image.Image:
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(SIZE[::-1])
    return Image.fromarray((np.asarray(smooth) // 2 + rng.integers(0, 128, (*SIZE, 3))).astype(np.uint8))


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {"subsampling": 0}),
        ("RGB", {"subsampling": 1}),
        ("RGB", {"subsampling": 2, "quality": 30}),
        ("RGB", {"progressive": True}),
        ("RGB", {"keep_rgb": True}),
        ("RGB", {"restart_marker_blocks": 2}),
        ("L", {}),
        ("CMYK", {}),
    ],
)
def test_a_jpeg_has_the_pixels_of_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, options: dict[str, Any]
) -> None:
    path = tmp_path / "a.jpg"
    picture().convert(mode).save(path, **options)
    with Image.open(path) as file:
        expected = torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1)
    assert torch.equal(decode(path, SIZE), expected)
    assert torch.equal(decode(path, SIZE, least=(30, 30)), expected)
    monkeypatch.setattr(module, "simplejpeg", None)
    assert torch.equal(decode(path, SIZE), expected)


@pytest.mark.skipif(module.simplejpeg is None, reason="needs the extra fast")
def test_the_fast_decoder_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture().save(tmp_path / "a.jpg")
    monkeypatch.setattr(module.Image, "open", lambda *arguments: pytest.fail("Pillow was used"))
    assert decode(tmp_path / "a.jpg", SIZE).shape == (3, *SIZE)


@pytest.mark.parametrize(
    ("least", "factor"), [((19, 27), 1), ((19, 26), 2), ((11, 10), 2), ((6, 7), 4), ((1, 1), 8)]
)
@pytest.mark.parametrize("fast", [True, False])
def test_a_reduced_jpeg_is_as_large_as_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: tuple[int, int], factor: int, fast: bool
) -> None:
    path = tmp_path / "a.jpg"
    picture().save(path, quality=95)
    if not fast:
        monkeypatch.setattr(module, "simplejpeg", None)
    found = decode(path, SIZE, least)
    assert found.shape == (3, -(-SIZE[0] // factor), -(-SIZE[1] // factor))
    with Image.open(path) as file:
        plain = np.asarray(file.resize((found.shape[2], found.shape[1]), Image.Resampling.BOX)).astype(float)
    assert np.abs(found.permute(1, 2, 0).numpy() - plain).mean() < 12


def test_other_files_are_not_reduced(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", SIZE, (1, 1)).shape == (3, *SIZE)


@pytest.mark.parametrize("fast", [True, False])
def test_wrong_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    path = tmp_path / "a.jpg"
    picture().save(path)
    if not fast:
        monkeypatch.setattr(module, "simplejpeg", None)
    with pytest.raises(ValueError, match="is 52x37, but the annotations say 37x52"):
        decode(path, SIZE[::-1])
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(OSError, match=r"(?i)truncated"):
        decode(path, SIZE)
    path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(OSError, match="cannot identify"):
        decode(path, SIZE)
