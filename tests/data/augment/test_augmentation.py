"""Augmentations of one image: boxes move with the pixels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from data.augment.transforms import MIN_LEFT, Cut, IoUCrop, train_transform
from data.loader import PADDING_RGB
from errors import UsageError
from tests.helpers.painted import assert_boxes_bound_their_colors, colored, painted

SEEDS = st.integers(0, 2**31 - 1)
MOVES: dict[str, dict[str, Any]] = {
    "flip": {"flip": 1.0},
    "expand": {"expand": 1.0},
    "crop": {"crop": 1.0},
    "scale_jitter": {"scale_jitter": (0.3, 2.0)},
    "all": {"flip": 0.5, "expand": 0.5, "crop": 0.5, "scale_jitter": (0.5, 2.0)},
}


def run(seed: int, transform: Any, *truth: Tensor) -> Any:
    torch.manual_seed(seed)
    return transform(*truth)


@pytest.mark.parametrize("name", MOVES)
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_boxes_bound_their_pixels(name: str, seed: int) -> None:
    transform = train_transform([60, 90], 120, **{"flip": 0.0, **MOVES[name]})
    assert_boxes_bound_their_colors(*run(seed, transform, *painted(seed, (0, 1, 2, 3))))


@pytest.mark.parametrize("photometric", [True, "strong"])
def test_colours_change_and_boxes_do_not(photometric: bool | str) -> None:
    image, boxes, labels = painted(5, (0, 4))
    transform = train_transform(int(min(image.shape[1:])), 500, flip=0.0, photometric=photometric)
    changed = 0
    for seed in range(20):
        other, other_boxes, other_labels = run(seed, transform, image, boxes, labels)
        assert torch.equal(other_boxes, boxes)
        assert torch.equal(other_labels, labels)
        changed += not torch.equal(other, image)
    assert changed >= 15  # on pure colours some changes are none


def test_strong_colours_swap_channels() -> None:
    image, boxes, labels = painted(5, (0,))  # red on black
    transform = train_transform(int(min(image.shape[1:])), 500, flip=0.0, photometric="strong")
    strongest = {
        run(s, transform, image, boxes, labels)[0].sum(dim=(1, 2)).argmax().item() for s in range(40)
    }
    assert strongest == {0, 1, 2}


def test_expand_makes_objects_smaller_and_fills_with_the_colour_of_padding() -> None:
    image, boxes, labels = painted(1, (0,))
    sides = []
    for seed in range(20):
        transform = train_transform(int(min(image.shape[1:])), 500, flip=0.0, expand=1.0)
        other, other_boxes, _ = run(seed, transform, image, boxes, labels)
        sides.append(((other_boxes[0, 2] - other_boxes[0, 0]) / (boxes[0, 2] - boxes[0, 0])).item())
        corners = other[:, [0, 0, -1, -1], [0, -1, 0, -1]].T.tolist()
        assert list(PADDING_RGB) in corners or sides[-1] > 0.9
    assert min(sides) < 0.4
    assert max(sides) <= 1.01


def test_crop_makes_objects_larger() -> None:
    image, boxes, labels = painted(3, (0, 1, 2))
    transform = train_transform(100, 1000, flip=0.0, crop=1.0)
    plain = train_transform(100, 1000, flip=0.0)(image, boxes, labels)
    shares = []
    for seed in range(30):
        other = run(seed, transform, image, boxes, labels)
        assert len(other[2]) >= 1, "a crop always holds the middle of some object"
        shares.append(colored(other[0], int(other[2][0])).float().mean().item())
    plain_shares = [colored(plain[0], label).float().mean().item() for label in range(3)]
    assert sum(shares) / len(shares) > 1.3 * sum(plain_shares) / 3


def test_scale_jitter_makes_squares_of_all_scales() -> None:
    image, boxes, labels = painted(2, (0, 1))
    fitted = 200 / max(image.shape[1:])
    factors = []
    for seed in range(60):
        transform = train_transform(64, 200, flip=0.0, scale_jitter=(0.25, 1.0))
        other, other_boxes, _ = run(seed, transform, image, boxes, labels)
        assert other.shape == (3, 200, 200)
        width = (other_boxes[0, 2] - other_boxes[0, 0]) / (boxes[0, 2] - boxes[0, 0])
        factors.append((width / fitted).item())
    assert 0.23 < min(factors) < 0.4
    assert 0.85 < max(factors) < 1.03


@pytest.mark.parametrize("step", [v2.RandomCrop(45, pad_if_needed=True), IoUCrop()])
@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_a_box_stays_if_a_quarter_of_it_does(step: Any, seed: int) -> None:
    image, boxes, labels = painted(seed, (0, 1, 2))
    torch.manual_seed(seed)
    box_tensor = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=image.shape[1:])
    cut, left = Cut(step)(tv_tensors.Image(image), box_tensor)
    for label in labels.tolist():
        share = colored(cut, label).sum().item() / colored(image, label).sum().item()
        kept = bool((left[label, 2:] > left[label, :2]).all())
        if kept:
            assert share >= MIN_LEFT
        elif share >= MIN_LEFT:  # torchvision's crop also leaves out what has its middle outside
            assert isinstance(step, IoUCrop)
            assert share <= 0.5


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize(("height", "width"), [(60, 80), (1, 700), (700, 2), (3, 3), (1, 1)])
def test_images_without_boxes_and_of_few_pixels(name: str, height: int, width: int) -> None:
    transform = train_transform(48, 96, **{**MOVES[name], "photometric": "strong"})
    image = torch.full((3, height, width), 7, dtype=torch.uint8)
    whole = torch.tensor([[0.0, 0.0, width, height]])
    for boxes in (torch.zeros(0, 4), whole):
        for seed in range(5):
            truth = boxes, torch.zeros(len(boxes), dtype=torch.long)
            other, other_boxes, other_labels = run(seed, transform, image, *truth)
            assert other.dtype == torch.uint8
            assert other_boxes.shape == (len(other_labels), 4)
            assert [type(t) for t in (other, other_boxes, other_labels)] == [Tensor] * 3


def test_scale_jitter_down_to_nothing() -> None:
    transform = train_transform(48, 96, scale_jitter=(0.001, 0.001))
    image, boxes, _ = transform(*painted(0, (0,)))
    assert image.shape == (3, 96, 96)
    assert len(boxes) <= 1


@pytest.mark.parametrize("word", ["flip", "expand", "crop"])
def test_probabilities_are_checked(word: str) -> None:
    with pytest.raises(UsageError, match=rf"{word}=1\.5 is not a probability"):
        train_transform(32, 64, **{word: 1.5})
