from __future__ import annotations

from pathlib import Path

import pytest
import torch

from data.augment.transforms import train_transform
from data.coco.dataset import CocoDataset
from data.loader import PADDING_RGB, Batch, EpochSampler, collate, eval_loader, train_loader
from data.sample import IGNORED, Sample
from data.shapes.dataset import ShapesDataset
from errors import UsageError


def sample(height: int, width: int, boxes: int, image_id: int = 1, problem: str | None = None) -> Sample:
    image = torch.full((3, height, width), 7, dtype=torch.uint8)
    return Sample(
        image, torch.rand(boxes, 4), torch.arange(boxes), image_id, (2 * height, 2 * width), problem
    )


def coco(root: Path, split: str = "train2017") -> CocoDataset:
    transform = train_transform([40, 60], 100, photometric=True)
    return CocoDataset(root / split, root / "annotations" / f"instances_{split}.json", transform, seed=3)


def assert_same(one: Batch, other: Batch) -> None:
    assert torch.equal(one.images_B3HW, other.images_B3HW)
    assert torch.equal(one.truth.boxes_G4, other.truth.boxes_G4)
    assert torch.equal(one.truth.labels_G, other.truth.labels_G)
    assert torch.equal(one.image_id_B, other.image_id_B)


def test_collate_pads_at_the_right_and_the_bottom() -> None:
    samples = [sample(33, 20, 2, 5), sample(10, 64, 0, 9, "x.jpg: broken"), sample(8, 8, 1, 2)]
    batch = collate(samples)
    assert batch.images_B3HW.shape == (3, 3, 64, 64)
    assert batch.images_B3HW.dtype == torch.uint8
    assert (batch.images_B3HW[1, :, :10, :64] == 7).all()
    assert batch.images_B3HW[1, :, 10, 0].tolist() == list(PADDING_RGB)
    assert batch.images_B3HW[0, :, 0, 20].tolist() == list(PADDING_RGB)
    assert batch.truth.image_G.tolist() == [0, 0, 2]
    assert torch.equal(batch.truth.boxes_G4, torch.cat([s.boxes_N4 for s in samples]))
    assert batch.image_id_B.tolist() == [5, 9, 2]
    assert batch.size_B2.tolist() == [[33, 20], [10, 64], [8, 8]]
    assert batch.original_B2.tolist() == [[66, 40], [20, 128], [16, 16]]
    assert batch.problems == ["x.jpg: broken"]
    assert len(batch) == 3


def test_collate_sets_ignored_regions_apart() -> None:
    samples = [sample(8, 8, 3), sample(9, 9, 1), sample(9, 9, 2)]
    samples[0].labels_N[1] = samples[2].labels_N[0] = IGNORED
    batch = collate(samples)
    assert batch.truth.labels_G.tolist() == [0, 2, 0, 1]
    assert batch.truth.image_G.tolist() == [0, 0, 1, 2]
    assert torch.equal(batch.ignored.boxes_G4[0], samples[0].boxes_N4[1])
    assert torch.equal(batch.ignored.boxes_G4[1], samples[2].boxes_N4[0])
    assert batch.ignored.image_G.tolist() == [0, 2]
    assert batch.to("meta").ignored.boxes_G4.device.type == "meta"


def test_collate_without_any_box() -> None:
    batch = collate([sample(8, 8, 0), sample(9, 9, 0)], multiple=16)
    assert batch.images_B3HW.shape == (2, 3, 16, 16)
    assert batch.truth.boxes_G4.shape == (0, 4)


def test_to_moves_images_and_truth() -> None:
    moved = collate([sample(8, 8, 1)]).to("meta")
    assert moved.images_B3HW.device.type == moved.truth.boxes_G4.device.type == "meta"
    assert moved.size_B2.device.type == "cpu"


def test_an_epoch_visits_each_image_at_most_once_in_its_own_order() -> None:
    sampler = EpochSampler(23, 4, seed=0)
    orders = []
    for epoch in (0, 1):
        sampler.set(epoch)
        batches = list(sampler)
        assert [len(batch) for batch in batches] == [4] * 5 == [4] * len(sampler)
        assert {e for batch in batches for e, _ in batch} == {epoch}
        orders.append([index for batch in batches for _, index in batch])
        assert len(set(orders[-1])) == 20
        assert set(orders[-1]) <= set(range(23))
    assert orders[0] != orders[1]
    again, other = EpochSampler(23, 4, seed=0), EpochSampler(23, 4, seed=1)
    assert [index for batch in again for _, index in batch] == orders[0]
    assert [index for batch in other for _, index in batch] != orders[0]


def test_an_epoch_continues_where_it_stopped() -> None:
    sampler = EpochSampler(23, 4, seed=0)
    sampler.set(3)
    whole = list(sampler)
    sampler.set(3, start=2)
    assert list(sampler) == whole[2:]
    sampler.set(3, start=5)
    assert list(sampler) == []
    assert len(sampler) == 5


@pytest.mark.parametrize(("images", "batch_size"), [(23, 4), (24, 4), (5, 4)])
def test_ranks_share_an_epoch(images: int, batch_size: int) -> None:
    ranks = [list(EpochSampler(images, batch_size, 0, rank, 2)) for rank in range(2)]
    assert len(ranks[0]) == len(ranks[1]) == max(1, images // (2 * batch_size))
    seen = [index for rank in ranks for batch in rank for _, index in batch]
    assert len(seen) == len(set(seen))
    assert len(seen) == (images // 8 * 8 or images)


def test_fewer_images_than_a_batch_make_a_smaller_one() -> None:
    loader = train_loader(ShapesDataset(3, 32, seed=0), batch_size=8, workers=0, seed=0)
    assert len(loader) == 1
    assert [len(batch) for batch in loader.epoch(0)] == [3]


def test_an_impossible_share_is_refused() -> None:
    with pytest.raises(UsageError):
        EpochSampler(1, 4, 0, rank=0, ranks=2)
    with pytest.raises(UsageError):
        EpochSampler(5, 0, 0)


def test_workers_change_nothing(tiny_coco: Path) -> None:
    plain = train_loader(coco(tiny_coco), 2, workers=0, seed=1)
    forked = train_loader(coco(tiny_coco), 2, workers=2, seed=1)
    for epoch in (0, 1):
        for one, other in zip(plain.epoch(epoch), forked.epoch(epoch), strict=True):
            assert_same(one, other)


def test_an_epoch_broken_off_does_not_leak_into_the_next(tiny_coco: Path) -> None:
    forked, plain = train_loader(coco(tiny_coco), 2, 2, 1), train_loader(coco(tiny_coco), 2, 0, 1)
    next(iter(forked.epoch(0)))
    for one, other in zip(forked.epoch(5, skip_batches=1), list(plain.epoch(5))[1:], strict=True):
        assert_same(one, other)


def test_skipped_batches_are_not_loaded() -> None:
    class Counting(ShapesDataset):
        loaded = 0

        def __getitem__(self, index: int | tuple[int, int]) -> Sample:
            self.loaded += 1
            return super().__getitem__(index)

    data = Counting(10, 32, seed=0)
    loader = train_loader(data, 2, workers=0, seed=0)
    assert len(list(loader.epoch(0, skip_batches=3))) == 2
    assert data.loaded == 4


def test_the_global_generator_is_left_alone(tiny_coco: Path) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(train_loader(coco(tiny_coco), 2, workers=0, seed=1).epoch(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluation_sees_every_image_once(tiny_coco: Path) -> None:
    data = coco(tiny_coco)
    loader = eval_loader(data, batch_size=3, workers=0)
    assert [len(batch) for batch in loader] == [3, 3, 2]
    ids = [image for batch in loader for image in batch.image_id_B.tolist()]
    assert ids == [s.image_id for s in data]
    shared = [b.image_id_B.tolist() for rank in range(3) for b in eval_loader(data, 2, 0, rank=rank, ranks=3)]
    assert sorted(image for batch in shared for image in batch) == ids


def test_a_broken_image_is_reported_by_its_batch(tiny_coco: Path) -> None:
    data, path = coco(tiny_coco), tiny_coco / "train2017" / "000000000004.jpg"
    path.write_bytes(path.read_bytes()[:700])
    problems = [p for batch in train_loader(data, 2, 0, 0).epoch(0) for p in batch.problems]
    assert len(problems) == 1
    assert problems[0].startswith("000000000004.jpg")
    batches = list(eval_loader(data, 4, 0))
    assert [i for b in batches for i in b.image_id_B.tolist()] == [1000 + 37 * row for row in range(8)]
    assert [len(b.problems) for b in batches] == [0, 1]
