"""Images are read and resized as training does it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import resize

from data.augment.resize import KeepRatio
from data.loader import PADDING_RGB
from errors import UsageError
from inference.pixels import canvas, read, resized
from inference.record import Padding, Resize


@pytest.mark.parametrize("seed", range(6))
def test_resized_is_torchvisions_resize_bit_for_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(12):
        height, width = rng.integers(1, 500, 2).tolist()
        size = rng.integers(2, 300, 2).tolist()
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        expected = resize(torch.from_numpy(image).permute(2, 0, 1), size, antialias=True)
        assert np.array_equal(resized(image, *size), expected.permute(1, 2, 0).numpy()), (height, width, size)


def test_size_rule_is_that_of_the_transform() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        height, width, short, long = (*rng.integers(1, 3000, 2).tolist(), *rng.integers(8, 900, 2).tolist())
        assert Resize(short, long).size(height, width) == KeepRatio(short, long).size(height, width)


def test_canvas_pads_right_and_bottom() -> None:
    image = np.full((20, 40, 3), 7, dtype=np.uint8)
    padded = canvas(image, (20, 40), Padding(PADDING_RGB, 32))
    assert padded.shape == (3, 32, 64)
    assert (padded[:, :20, :40] == 7).all()
    assert padded[:, 20:, 0].T.tolist() == [list(PADDING_RGB)] * 12
    assert padded[:, 0, 40:].T.tolist() == [list(PADDING_RGB)] * 24


def test_read_takes_paths_pictures_and_arrays(tmp_path: Path) -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    picture = Image.fromarray(pixels)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown a quarter turn clockwise
    picture.save(tmp_path / "turned.png", exif=turned)
    assert np.array_equal(read(pixels), pixels)
    assert np.array_equal(read(picture), pixels)
    assert np.array_equal(read(np.dstack((pixels, pixels[..., :1]))), pixels)
    assert np.array_equal(read(tmp_path / "turned.png"), np.rot90(pixels, -1))
    assert np.array_equal(read(str(tmp_path / "turned.png"), upright=False), pixels)
    assert np.array_equal(read(pixels[..., 0]), np.repeat(pixels[..., :1], 3, axis=2))


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no image at all")
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(tmp_path / "deep.png")
    with Image.new("RGB", (64, 64)) as picture:
        picture.save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:300])
    for name, words in {
        "none.jpg": "no such image",
        "empty.jpg": "zero bytes",
        "text.jpg": "not a readable image",
        "deep.png": "more than 8 bits",
        "cut.jpg": "not a readable image",
    }.items():
        with pytest.raises(UsageError, match=f"{name}.*{words}") as error:
            read(tmp_path / name)
        assert len(str(error.value).splitlines()) == 1
    for wrong in (np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8), 7):
        with pytest.raises(UsageError, match=r"H, W, 3|red, green and blue"):
            read(wrong)
