"""Decoded images that are kept are those that would be decoded again."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data.augment.augmented import AugmentedDataset
from data.augment.transforms import eval_transform, train_transform
from data.coco import dataset as module
from data.coco import pixels
from data.coco.dataset import CocoDataset
from data.coco.pixels import MemoryCache
from data.loader import train_loader
from errors import UsageError


def coco(root: Path, cache: str | None, transform: Any = None, **options: Any) -> CocoDataset:
    file = root / "annotations" / "instances_train2017.json"
    return CocoDataset(root / "train2017", file, transform, cache_dir=root / "cache", cache=cache, **options)


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_the_second_epoch_decodes_nothing(
    tiny_coco: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    moved = train_transform([40, 60], 100, expand=0.5, photometric=True)
    plain, kept = coco(tiny_coco, None), coco(tiny_coco, kind)
    datasets = [AugmentedDataset(own, moved, moved, moved, 3, 50, 0.5, 0.5) for own in (plain, kept)]
    for epoch in range(2):  # nothing writes into what is kept
        for row in range(8):
            one, other = (own[epoch, row] for own in datasets)
            assert torch.equal(one.image, other.image)
            assert torch.equal(one.boxes_N4, other.boxes_N4)
    monkeypatch.setattr(module, "decode", lambda *arguments: pytest.fail("decoded again"))
    assert all(torch.equal(kept[row].image, kept[0, row].image) for row in range(8))
    if kind == "disk":  # for the next run, too
        assert coco(tiny_coco, kind)[3].image.shape == kept[3].image.shape


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_data_workers_share_it(tiny_coco: Path, kind: str) -> None:
    data, plain = (coco(tiny_coco, own, train_transform([40, 60], 100)) for own in (kind, None))
    expected = [batch.images_B3HW for batch in train_loader(plain, 2, 0, seed=1).epoch(0)]
    for one, other in zip(train_loader(data, 2, 2, seed=1).epoch(0), expected, strict=True):
        assert torch.equal(one.images_B3HW, other)
    for path in (tiny_coco / "train2017").iterdir():  # what the workers decoded is here
        content = path.stat()
        path.write_bytes(b"x")
        os.utime(path, ns=(content.st_atime_ns, content.st_mtime_ns))
    for one, other in zip(train_loader(data, 2, 0, seed=1).epoch(0), expected, strict=True):
        assert torch.equal(one.images_B3HW, other)


def _brightness(arguments: tuple[MemoryCache, int]) -> float | None:
    cache, row = arguments
    image = cache.get(row)
    cache.put(1, torch.full((3, 4, 5), 9, dtype=torch.uint8))
    return None if image is None else image.float().mean().item()


def test_memory_is_found_by_workers_that_are_not_forked() -> None:
    cache = MemoryCache(np.array([(2, 3), (4, 5)]))
    assert cache.get(0) is None
    cache.put(0, torch.full((3, 2, 3), 7, dtype=torch.uint8))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_brightness, [(cache, 0), (cache, 1)]) == [7.0, 9.0]
    found = cache.get(1)
    assert found is not None
    assert (found == 9).all()


def test_a_changed_image_is_decoded_again(tiny_coco: Path) -> None:
    data, path = coco(tiny_coco, "disk"), tiny_coco / "train2017" / "000000000003.jpg"
    before = data[3].image.clone()
    with Image.open(path) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path, quality=95)
    assert not torch.equal(data[3].image, before)
    kept = [file for file in (tiny_coco / "cache").rglob("*.rgb")]
    assert len(kept) == 1
    kept[0].write_bytes(b"short")
    assert data[3].image.shape == before.shape


def test_what_does_not_fit_is_refused(tiny_coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "_free_memory", lambda: 100_000)
    with pytest.raises(UsageError, match=r"data.cache=ram needs 0.0 GB for 8 images.*choose data.cache=disk"):
        coco(tiny_coco, "ram")
    (tiny_coco / "cache").write_text("a file")
    with pytest.raises(UsageError, match=r"cannot be written .*data\.cache_dir"):
        coco(tiny_coco, "disk")


@pytest.mark.parametrize("train", [False, True])
def test_draft_changes_no_size_and_no_box(tiny_coco: Path, train: bool) -> None:
    transform = train_transform([12, 16, 20, 60], 400) if train else eval_transform(16, 400)
    plain, draft = (coco(tiny_coco, None, transform, draft=own) for own in (False, True))
    smaller = 0
    for row in range(8):
        index = (2, row) if train else row
        one, other = plain[index], draft[index]
        assert one.image.shape == other.image.shape
        assert torch.equal(one.boxes_N4, other.boxes_N4)
        assert torch.equal(one.labels_N, other.labels_N)
        assert one.original_size == other.original_size
        difference = (one.image.float() - other.image.float()).abs().mean()
        assert difference < 12  # of noise
        smaller += bool(difference > 0)
    assert smaller > (0 if train else 7)
    with pytest.raises(UsageError, match="does not go with"):
        coco(tiny_coco, "ram", transform, draft=True)


def test_draft_leaves_cuts_alone(tiny_coco: Path) -> None:
    transform = train_transform(16, 400, crop=1.0)
    plain, draft = (coco(tiny_coco, None, transform, draft=own) for own in (False, True))
    assert all(torch.equal(plain[0, row].image, draft[0, row].image) for row in range(8))
