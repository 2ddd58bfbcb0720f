from __future__ import annotations

from pathlib import Path

import pytest
import torch

from data.augment.augmented import AugmentedDataset
from data.augment.transforms import eval_transform, train_transform
from data.coco.dataset import CocoDataset
from data.loader import PADDING_RGB, Batch, collate, eval_loader, train_loader
from data.sample import IGNORED, DetectionDataset, Sample
from data.shapes.dataset import ShapesDataset


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


def test_fewer_images_than_a_batch_make_a_smaller_one() -> None:
    loader = train_loader(ShapesDataset(3, 32, seed=0), batch_size=8, workers=0, seed=0)
    assert len(loader) == 1
    assert [len(batch) for batch in loader.epoch(0)] == [3]


def test_workers_change_nothing(tiny_coco: Path) -> None:
    plain = train_loader(coco(tiny_coco), 2, workers=0, seed=1)
    forked = train_loader(coco(tiny_coco), 2, workers=2, seed=1)
    for epoch in (0, 1):
        for one, other in zip(plain.epoch(epoch), forked.epoch(epoch), strict=True):
            assert_same(one, other)


def test_there_is_at_most_one_worker_per_core(tiny_coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.loader.cores", lambda: 1)
    data = coco(tiny_coco)
    assert [eval_loader(data, 2, workers).num_workers for workers in (0, 1, 8)] == [0, 1, 1]


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


@pytest.mark.parametrize("ranks", [1, 3])
def test_evaluation_sees_every_image_once_in_its_own_canvas(tiny_coco: Path, ranks: int) -> None:
    plain = eval_transform(96, 128)  # images of 80 to 112 by 52 to 76 pixels
    data = CocoDataset(tiny_coco / "train2017", tiny_coco / "annotations" / "instances_train2017.json", plain)
    batches = [
        b for rank in range(ranks) for b in eval_loader(data, 3, 0, multiple=8, rank=rank, ranks=ranks)
    ]
    seen = [image for batch in batches for image in batch.image_id_B.tolist()]
    assert sorted(seen) == sorted(s.image_id for s in data)
    assert max(map(len, batches)) > 1
    assert len({batch.images_B3HW.shape[2:] for batch in batches}) > 1
    for batch in batches:
        assert len(batch) <= 3
        canvas = torch.tensor(batch.images_B3HW.shape[2:])
        assert ((canvas - batch.size_B2 >= 0) & (canvas - batch.size_B2 < 8)).all()


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_canvas_holds_the_images_of_the_step_on_any_number_of_ranks(
    tiny_coco: Path, accumulate: int, mixed: bool
) -> None:
    data: DetectionDataset = coco(tiny_coco)
    if mixed:
        moved = train_transform([40, 60], 100, expand=0.5, crop=0.5)
        raw = CocoDataset(tiny_coco / "train2017", tiny_coco / "annotations" / "instances_train2017.json")
        data = AugmentedDataset(raw, moved, moved, moved, 3, 50, mosaic=0.3, mixup=0.5)
    one = list(train_loader(data, 2, 0, seed=1, multiple=4, accumulate=accumulate).epoch(0))
    ranks = [
        train_loader(data, 1, 0, seed=1, multiple=4, rank=rank, ranks=2, accumulate=accumulate).epoch(0)
        for rank in range(2)
    ]
    assert len(one) == 4
    for whole, *shares in zip(one, *ranks, strict=True):
        for rank, share in enumerate(shares):
            assert torch.equal(share.images_B3HW[0], whole.images_B3HW[rank])
            assert share.image_id_B[0] == whole.image_id_B[rank]
    for first in range(0, 4, accumulate):
        step = one[first : first + accumulate]
        highest, widest = torch.cat([batch.size_B2 for batch in step]).amax(dim=0).tolist()
        canvas = (-(-highest // 4) * 4, -(-widest // 4) * 4)
        assert {tuple(batch.images_B3HW.shape[2:]) for batch in step} == {canvas}


def test_a_broken_image_is_reported_by_its_batch(tiny_coco: Path) -> None:
    data, path = coco(tiny_coco), tiny_coco / "train2017" / "000000000004.jpg"
    path.write_bytes(path.read_bytes()[:700])
    problems = [p for batch in train_loader(data, 2, 0, 0).epoch(0) for p in batch.problems]
    assert len(problems) == 1
    assert problems[0].startswith("000000000004.jpg")
    batches = list(eval_loader(data, 4, 0))
    assert sorted(i for b in batches for i in b.image_id_B.tolist()) == [1000 + 37 * row for row in range(8)]
    assert sum(len(b.problems) for b in batches) == 1
