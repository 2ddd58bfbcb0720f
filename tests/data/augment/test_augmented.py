"""The augmented training set: repeatable, the same for any number of workers, plain at the end."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from data.augment.augmented import AugmentedDataset
from data.augment.transforms import train_transform
from data.coco.dataset import CocoDataset
from data.loader import Batch, train_loader
from data.sample import Sample
from data.shapes.dataset import ShapesDataset

PLAIN = train_transform([40, 60], 100, photometric=True)
MOVED = train_transform(40, 100, photometric="strong", expand=0.5, crop=0.5, scale_jitter=(0.5, 1.5))
MOSAIC = train_transform(40, 100, scale_jitter=(1.0, 3.0))


def coco(root: Path, transform: Any = None) -> CocoDataset:
    return CocoDataset(
        root / "train2017", root / "annotations" / "instances_train2017.json", transform, seed=3
    )


def augmented(
    root: Path, mosaic: float = 0.5, mixup: float = 0.5, plain_from: int | None = 2
) -> AugmentedDataset:
    return AugmentedDataset(coco(root), MOVED, MOSAIC, PLAIN, 3, 100, mosaic, mixup, plain_from)


def same(one: Sample, other: Sample) -> bool:
    return (
        torch.equal(one.image, other.image)
        and torch.equal(one.boxes_N4, other.boxes_N4)
        and torch.equal(one.labels_N, other.labels_N)
        and (one.image_id, one.problem) == (other.image_id, other.problem)
    )


def same_batch(one: Batch, other: Batch) -> bool:
    pairs = ((one.images_B3HW, other.images_B3HW), (one.truth.boxes_G4, other.truth.boxes_G4),
             (one.truth.labels_G, other.truth.labels_G), (one.image_id_B, other.image_id_B))  # fmt: skip
    return all(torch.equal(a, b) for a, b in pairs)


def test_samples_depend_on_seed_epoch_and_index_only(tiny_coco: Path) -> None:
    data = augmented(tiny_coco)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = [data[1, row] for row in range(8)]
    assert torch.equal(torch.get_rng_state(), before), "the global generator must not move"
    torch.manual_seed(1)
    again = pickle.loads(pickle.dumps(data))
    assert all(same(again[1, row], first[row]) for row in reversed(range(8)))
    assert not any(same(data[0, row], first[row]) for row in range(8))


def test_workers_change_nothing_and_the_last_epochs_are_plain(tiny_coco: Path) -> None:
    alone, forked = (train_loader(augmented(tiny_coco), 2, workers, seed=1) for workers in (0, 2))
    never = train_loader(augmented(tiny_coco, 0, 0), 2, 0, seed=1)
    plain = train_loader(coco(tiny_coco, PLAIN), 2, 0, seed=1)
    for epoch in range(4):  # the two workers live through all of them
        for one, other, unmixed, bare in zip(
            *(loader.epoch(epoch) for loader in (alone, forked, never, plain)), strict=True
        ):
            assert same_batch(one, other)
            assert same_batch(one, bare) == (epoch >= 2)
            assert same_batch(unmixed, bare) == (epoch >= 2)


def test_without_last_epochs_it_never_ends(tiny_coco: Path) -> None:
    data, plain = augmented(tiny_coco, plain_from=None), coco(tiny_coco, PLAIN)
    assert not any(same(data[1000, row], plain[1000, row]) for row in range(8))


def test_plain_indices_are_not_mixed(tiny_coco: Path) -> None:
    data, plain = augmented(tiny_coco, 1, 1), coco(tiny_coco, PLAIN)
    assert len(data) == 8
    assert all(same(one, other) for one, other in zip(data, plain, strict=True))
    assert same(data[-1], plain[7])
    assert data.class_names == plain.class_names
    assert data.category_ids == plain.category_ids
    assert data.coco_json() == plain.coco_json()


@pytest.mark.parametrize(("mosaic", "mixup", "images"), [(0, 0, 1), (0, 1, 2), (1, 0, 4), (1, 1, 5)])
def test_as_many_images_as_asked_for(mosaic: float, mixup: float, images: int) -> None:
    class Counting(ShapesDataset):
        loaded = 0

        def __getitem__(self, index: int | tuple[int, int]) -> Sample:
            self.loaded += 1
            return super().__getitem__(index)

    data = Counting(10, 64, seed=0)
    sample = AugmentedDataset(data, PLAIN, MOSAIC, PLAIN, 0, 100, mosaic, mixup)[0, 3]
    assert data.loaded == images
    assert sample.image_id == 4
    assert sample.original_size == ((200, 200) if mosaic else (64, 64))
    assert sample.image.shape == (3, 100, 100) or not mosaic


def test_broken_images_are_replaced_and_named_among_the_partners_too(tiny_coco: Path) -> None:
    path = tiny_coco / "train2017" / "000000000004.jpg"
    path.write_bytes(path.read_bytes()[:700])
    data = augmented(tiny_coco, 1, 1)
    found = [data[epoch, row] for epoch in range(2) for row in range(8)]
    named = [sample for sample in found if sample.problem]
    assert data[0, 4].problem is not None
    assert data[0, 4].image_id == data[0, 5].image_id
    assert 2 < len(named) < len(found)
    assert all("000000000004.jpg" in str(sample.problem) for sample in named)
    blank = data[4]
    assert blank.problem is not None
    assert len(blank.boxes_N4) == 0


def test_boxes_may_all_be_gone() -> None:
    class Empty(ShapesDataset):
        def __getitem__(self, index: int | tuple[int, int]) -> Sample:
            sample = super().__getitem__(index)
            return Sample(sample.image, sample.boxes_N4[:0], sample.labels_N[:0], sample.image_id, (64, 64))

    data = AugmentedDataset(Empty(4, 64, seed=0), MOVED, MOSAIC, PLAIN, 0, 100, 0.5, 0.5)
    for epoch in range(4):
        for batch in train_loader(data, 2, 0, seed=0).epoch(epoch):
            assert batch.truth.boxes_G4.shape == (0, 4)
