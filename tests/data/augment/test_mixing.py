"""Mosaic and mix-up: boxes move with the pixels of all images."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.augment.mixing import mix_up, mosaic
from data.augment.transforms import MIN_LEFT
from data.sample import Sample
from tests.helpers.painted import assert_boxes_bound_their_colors, colored, extent, raw_sample

SEEDS = st.integers(0, 2**31 - 1)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_boxes_of_a_mosaic_bound_their_pixels(seed: int) -> None:
    samples = [
        raw_sample(seed + 1, 0, 1),
        raw_sample(seed + 2, 2),
        raw_sample(seed + 3),
        raw_sample(seed + 4, 3),
    ]
    mixed = mosaic(samples, 100, np.random.default_rng(seed))
    assert mixed.image.shape == (3, 200, 200)
    assert mixed.original_size == (200, 200)
    assert mixed.image_id == seed + 1
    assert_boxes_bound_their_colors(mixed.image, mixed.boxes_N4, mixed.labels_N)
    for sample in samples:
        scale = 100 / max(sample.image.shape[1:])
        for box, label in zip(sample.boxes_N4, sample.labels_N.tolist(), strict=True):
            area = (box[2:] - box[:2]).prod() * scale**2
            share = (colored(mixed.image, label).sum() / area).item()
            margin = 0.15  # blurred edges of small boxes
            assert share > MIN_LEFT - margin if label in mixed.labels_N else share < MIN_LEFT + margin


def test_the_point_of_a_mosaic_moves_and_all_four_images_are_seen() -> None:
    samples = [raw_sample(number, number) for number in range(4)]
    points, seen = [], 0
    for seed in range(30):
        mixed = mosaic(samples, 100, np.random.default_rng(seed))
        black = (mixed.image == 0).all(dim=0)  # the first picture's background ends at the point
        found = [label for label in range(4) if colored(mixed.image, label).any()]
        seen += len(found)
        points.append(extent(black)[:2])
    assert seen > 100
    assert len({tuple(point) for point in points}) > 20


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_boxes_of_a_mix_bound_their_pixels(seed: int) -> None:
    under, over = raw_sample(seed, 0), raw_sample(seed + 1, 1)
    limit = (under.image.shape[1], under.image.shape[2])
    mixed = mix_up(under, over, limit, np.random.default_rng(seed))
    assert mixed.image.shape == under.image.shape
    assert mixed.labels_N.tolist() == [0, 1]
    assert torch.equal(mixed.boxes_N4[0], under.boxes_N4[0])
    # Red is halved where the other picture lies; green is always halved.
    red, green = mixed.image[0] >= 127, mixed.image[1] >= 64
    assert np.abs(np.array(extent(red)) - mixed.boxes_N4[0].numpy()).max() <= 1.5
    assert np.abs(np.array(extent(green)) - mixed.boxes_N4[1].numpy()).max() <= 1.5


def test_mixing_leaves_its_inputs_alone_and_names_all_problems() -> None:
    samples = [raw_sample(n, n, problem=f"{n}.jpg: bad" if n % 2 else None) for n in range(4)]
    before = [(s.image.clone(), s.boxes_N4.clone()) for s in samples]
    rng = np.random.default_rng(0)
    assert mosaic(samples, 50, rng).problem == "1.jpg: bad; 3.jpg: bad"
    mixed = mix_up(samples[0], samples[2], (40, 20), rng)
    assert mixed.problem is None
    over = mixed.boxes_N4[1]
    assert over[2] - over[0] <= 20
    assert over[3] - over[1] <= 40
    for sample, (image, boxes) in zip(samples, before, strict=True):
        assert torch.equal(sample.image, image)
        assert torch.equal(sample.boxes_N4, boxes)


def test_images_of_one_pixel_and_without_boxes() -> None:
    empty = [raw_sample(number) for number in range(4)]
    thin = raw_sample(1, 0)
    thin = Sample(
        thin.image[:, :1].contiguous(), thin.boxes_N4[:0], thin.labels_N[:0], 1, (1, thin.image.shape[2])
    )
    rng = np.random.default_rng(0)
    assert mosaic(empty, 32, rng).boxes_N4.shape == (0, 4)
    assert mosaic([thin] * 4, 32, rng).image.shape == (3, 64, 64)
    for one, other in ((thin, empty[0]), (empty[0], thin)):
        limit = (one.image.shape[1], one.image.shape[2])
        assert mix_up(one, other, limit, rng).image.shape == one.image.shape
