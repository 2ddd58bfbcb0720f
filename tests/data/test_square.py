"""Squares: pixels and boxes move together, and a batch is one of them."""

import torch
from torchvision.transforms import v2

from data.augment.transforms import train_transform
from data.loader import train_loader
from data.sample import Sample
from data.shapes.dataset import ShapesDataset
from data.square import squared


def test_boxes_move_with_the_pixels() -> None:
    image = torch.zeros(3, 40, 80, dtype=torch.uint8)
    image[0, 10:20, 20:60] = 255
    boxes_N4 = torch.tensor([[20.0, 10.0, 60.0, 20.0], [0.0, 0.0, 2.0, 30.0]])
    sample = Sample(image, boxes_N4, torch.tensor([4, 7]), 1, (40, 80))
    small = squared(sample, 32)
    assert torch.equal(small.image, v2.functional.resize(image, [32, 32], antialias=True))
    torch.testing.assert_close(small.boxes_N4, torch.tensor([[8.0, 8.0, 24.0, 16.0]]))
    assert small.labels_N.tolist() == [4]
    inside = small.image[0, 8:16, 8:24]
    assert bool((inside > 200).all())
    assert int(small.image[0].sum()) < 1.1 * int(inside.sum())
    assert small.original_size == (40, 80)


def test_a_batch_is_one_square() -> None:
    transform = train_transform(None, 96, photometric="distort")
    data = ShapesDataset(12, 96, seed=0, transform=transform)
    loader = train_loader(data, 4, 0, 0, sides=(64, 128))
    sizes = []
    for epoch in range(4):
        for batch in loader.epoch(epoch):
            height, width = batch.images_B3HW.shape[2:]
            assert height == width
            assert batch.size_B2.tolist() == [[height, width]] * 4
            sizes.append(height)
            assert float(batch.truth.boxes_G4.max()) <= height
    assert set(sizes) == {64, 128}
