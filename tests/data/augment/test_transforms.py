from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from data.augment.resize import KeepRatio
from data.augment.transforms import eval_transform, train_transform
from errors import UsageError


def picture(height: int, width: int, box: tuple[int, int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """A black image whose one box is white."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    x1, y1, x2, y2 = box
    image[:, y1:y2, x1:x2] = 255
    return image, torch.tensor([box], dtype=torch.float32), torch.tensor([4])


def white_extent(image: Tensor) -> list[float]:
    white = image[0] > 127
    rows, columns = white.any(dim=1).nonzero().flatten(), white.any(dim=0).nonzero().flatten()
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(8, 120), st.integers(8, 160))
def test_the_resized_sides_keep_their_limits(height: int, width: int, short: int, long: int) -> None:
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image, boxes, labels = eval_transform(short, long)(
        image, torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
    )
    rows, columns = image.shape[1:]
    assert max(rows, columns) <= long
    assert min(rows, columns) == min(short, max(2, round(min(height, width) * long / max(height, width))))
    # One rounding per side, of at most half a pixel (a side never falls below two pixels).
    if min(rows, columns) > 2:
        assert abs(rows / columns - height / width) <= (0.5 + 0.5 * rows / columns) / (columns - 0.5)
    assert boxes.shape == (0, 4)
    assert labels.shape == (0,)
    assert image.dtype == torch.uint8


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_boxes_follow_their_pixels(flip: float) -> None:
    transform = train_transform([100], 400, flip=flip)
    image, boxes, labels = transform(*picture(50, 80, (10, 5, 30, 45)))
    assert image.shape == (3, 100, 160)
    expected = [100.0, 10.0, 140.0, 90.0] if flip else [20.0, 10.0, 60.0, 90.0]
    assert boxes[0].tolist() == pytest.approx(expected)
    assert white_extent(image) == pytest.approx(expected, abs=1)
    assert labels.tolist() == [4]


@pytest.mark.parametrize(("height", "width"), [(700, 4), (4, 700), (300, 1), (1, 1)])
def test_a_side_that_would_be_one_pixel_becomes_two(height: int, width: int) -> None:
    ramp = torch.linspace(0, 255, height).to(torch.uint8).view(1, -1, 1).expand(3, height, width)
    image, boxes, _ = eval_transform(8, 64)(
        ramp, torch.tensor([[0.0, 0.0, width, height]]), torch.tensor([0])
    )
    rows, columns = image.shape[1:]
    assert min(rows, columns) == min(8, max(2, round(min(height, width) * 64 / max(height, width))))
    assert boxes.tolist() == [[0.0, 0.0, columns, rows]]
    if rows == 64:  # the ramp stays one, and equal along the other side
        expected = torch.linspace(0, 255, 64)
        assert (image.float() - expected.view(1, -1, 1)).abs().max() < 4


def test_multi_scale_draws_every_size_and_flips_half() -> None:
    transform = train_transform([32, 48, 64], 1000, flip=0.5)
    torch.manual_seed(0)
    heights, flipped = set(), 0
    for _ in range(100):
        image, boxes, _ = transform(*picture(32, 64, (0, 0, 16, 32)))
        heights.add(image.shape[1])
        flipped += boxes[0, 0].item() > 0
    assert heights == {32, 48, 64}
    assert 30 < flipped < 70


def test_boxes_are_clamped_and_vanishing_ones_leave_with_their_labels() -> None:
    boxes = torch.tensor([[0.0, 0.0, 8.0, 40.0], [60.0, 10.0, 120.0, 40.0], [5.0, 5.0, 25.0, 25.0]])
    image = torch.zeros(3, 80, 80, dtype=torch.uint8)
    _, kept, labels = eval_transform(8, 8)(image, boxes, torch.tensor([0, 1, 2]))
    assert labels.tolist() == [1, 2]
    assert kept.tolist() == [[6.0, 1.0, 8.0, 4.0], [0.5, 0.5, 2.5, 2.5]]


def test_plain_tensors_come_back() -> None:
    out = train_transform(32, 64, photometric=True)(*picture(40, 40, (4, 4, 20, 20)))
    assert [type(t) for t in out] == [Tensor, Tensor, Tensor]
    assert [t.dtype for t in out] == [torch.uint8, torch.float32, torch.int64]


def test_photometric_changes_colours_only() -> None:
    torch.manual_seed(0)
    inputs = (
        torch.full((3, 32, 32), 90, dtype=torch.uint8),
        torch.tensor([[4.0, 4.0, 20.0, 20.0]]),
        torch.tensor([1]),
    )
    image, boxes, _ = train_transform(32, 64, flip=0.0, photometric=True)(*inputs)
    assert not torch.equal(image, inputs[0])
    assert torch.equal(boxes, inputs[1])


@pytest.mark.parametrize("arguments", [(0, 10), ([], 10), ([32, 0], 10), (32, 0), (32, 64, 1.5)])
def test_senseless_settings_are_refused(arguments: tuple[int, int]) -> None:
    with pytest.raises(UsageError):
        train_transform(*arguments)


class TorchvisionResize(v2.Transform):
    """`KeepRatio` as one of torchvision's transforms."""

    def __init__(self, rule: KeepRatio) -> None:
        super().__init__()
        self.rule = rule

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"size": list(self.rule.size(*v2.query_size(flat_inputs)))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return v2.functional.resize(inpt, params["size"], antialias=True)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 200), st.integers(1, 200), st.sampled_from([None, True, "strong"]), st.integers(0, 2**31)
)
def test_resize_and_flip_are_those_of_torchvision(
    height: int, width: int, photometric: Any, seed: int
) -> None:
    """Equal bit for bit and draw for draw, also for images that lie channels last in memory."""
    short, long = [16, 40, 64], 96
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
    corners = torch.rand(5, 4, generator=generator) * torch.tensor([width, height] * 2)
    boxes = torch.cat((corners[:, :2], corners[:, 2:].maximum(corners[:, :2])), dim=1)
    labels = torch.arange(5)
    colors = [v2.ColorJitter(0.25, 0.25, 0.25, 0.03)] if photometric is True else []
    colors += [v2.RandomPhotometricDistort()] if photometric == "strong" else []
    steps = [TorchvisionResize(KeepRatio(short, long)), v2.RandomHorizontalFlip(0.5), *colors]
    wrapped = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width))
    torch.manual_seed(seed)
    expected, moved = v2.Compose([*steps, v2.ClampBoundingBoxes()])(tv_tensors.Image(image), wrapped)
    keep = (moved[:, 2:] - moved[:, :2] >= 1).all(dim=1)
    own = train_transform(short, long, photometric=photometric or False)
    last = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    for given_image in (image, last):
        torch.manual_seed(seed)
        found, found_boxes, found_labels = own(given_image, boxes, labels)
        assert torch.equal(found, expected.as_subclass(Tensor))
        assert torch.equal(found_boxes, moved.as_subclass(Tensor)[keep])
        assert torch.equal(found_labels, labels[keep])
