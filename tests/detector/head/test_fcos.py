"""The head: its order of points, its distances, its quality branches."""

import pytest
import torch
from torch import nn

from assigners.core.types import PointGrid
from detector.head.fcos import FcosHead
from errors import UsageError

GRID = PointGrid.for_image(48, 80, (8, 16))


def _maps(channels: int = 8) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, channels, *shape, generator=generator) for shape in GRID.shapes]


def _head(**options: object) -> FcosHead:
    torch.manual_seed(0)
    return FcosHead(8, 3, 2, **{"channels": 16, "convs": 1, **options})


@pytest.mark.parametrize("channels_last", [False, True])
def test_points_come_in_the_order_of_the_grid(channels_last: bool) -> None:
    """Maps that hold their own coordinates come out as the coordinates of the grid."""
    head = _head(convs=0)
    for out, row in ((head.class_out, 3), (head.box_out, 4)):
        nn.init.zeros_(out.weight)
        nn.init.zeros_(out.bias)
        out.weight.data[torch.arange(row), torch.arange(row), 1, 1] = 1.0
    maps = []
    for level, (rows, columns) in enumerate(GRID.shapes):
        map_ = torch.zeros(2, 8, rows, columns)
        for i in range(rows):
            for j in range(columns):
                map_[:, 0, i, j] = (j + 0.5) * GRID.strides[level]
                map_[:, 1, i, j] = (i + 0.5) * GRID.strides[level]
                map_[1, 2, i, j] = level
        maps.append(map_.contiguous(memory_format=torch.channels_last) if channels_last else map_)
    outputs = head(maps, GRID)
    logits, distances = outputs.logits_BPC, outputs.distances_BP4
    assert outputs.quality_BP is None
    for image in range(2):
        assert torch.equal(logits[image, :, :2], GRID.centers_P2)
    assert torch.equal(logits[1, :, 2], (GRID.stride_P == 16).float())
    # distance = stride x exp(raw), and the raw value is held within -8 and 8
    torch.testing.assert_close(distances[0, :, 0], GRID.stride_P * GRID.centers_P2[:, 0].clamp(max=8).exp())


def test_scale_is_per_level() -> None:
    head = _head(convs=0)
    head.scale.data = torch.tensor([0.0, 1.0])
    distances = head(_maps(), GRID).distances_BP4
    assert (distances[:, GRID.level_slices[0]] == 8.0).all()  # exp(0) strides
    assert (distances[:, GRID.level_slices[1]] != 16.0).any()


def test_implicit_quality_has_three_convolutions_of_a_quarter() -> None:
    head = _head(quality="implicit")
    assert head.quality_out is not None
    convs = [m for m in head.quality_out.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in convs] == [(16, 4), (4, 4), (4, 4), (4, 1)]


@pytest.mark.parametrize(("channels", "groups"), [(256, 32), (64, 32), (48, 24), (36, 18), (7, 1), (1, 1)])
def test_groups_divide_the_channels(channels: int, groups: int) -> None:
    head = _head(channels=channels)
    assert {m.num_groups for m in head.modules() if isinstance(m, nn.GroupNorm)} == {groups}


@pytest.mark.parametrize("distances", ["exp", "relu"])
def test_huge_features_give_finite_boxes(distances: str) -> None:
    maps = [1e6 * map_ for map_ in _maps()]
    outputs = _head(convs=0, distances=distances)(maps, GRID)
    assert outputs.distances_BP4.isfinite().all()
    assert (outputs.distances_BP4 >= 0).all()


def test_relu_distances_are_linear_above_zero() -> None:
    # In float64: how far float32 convolutions round differs between CPUs.
    head = _head(convs=0, distances="relu").double()
    head.scale.data = torch.tensor([0.5, 2.0], dtype=torch.float64)
    for level, part in enumerate(GRID.level_slices):
        maps = [map_.double() for map_ in _maps()]
        raw = head.box_out(maps[level]).permute(0, 2, 3, 1).flatten(1, 2) - 4.0  # half of them negative
        expected = GRID.strides[level] * head.scale[level] * raw
        head.box_out.bias.data -= 4.0
        got = head(maps, GRID).distances_BP4[:, part]
        head.box_out.bias.data += 4.0
        torch.testing.assert_close(got, expected.clamp(min=0))
        assert (got == 0).any()
        assert (got > 0).any()


def test_distances_from_the_corner_of_a_cell() -> None:
    """The same boxes around other points, also where a stride does not divide the side."""
    grid = PointGrid.for_image(100, 150, (8, 64))
    maps = [torch.randn(1, 8, *shape) for shape in grid.shapes]
    center, corner = (_head(origin=origin)(maps, grid).distances_BP4 for origin in ("center", "corner"))
    point = 0
    for rows, columns in grid.shapes:
        for i in range(rows):
            for j in range(columns):
                x, y = grid.centers_P2[point].tolist()
                left, top, right, bottom = center[0, point].tolist()
                at_x, at_y = j * (150 // columns), i * (100 // rows)
                got = torch.tensor([x, y, x, y]) + corner[0, point] * torch.tensor([-1, -1, 1, 1])
                expected = torch.tensor([at_x - left, at_y - top, at_x + right, at_y + bottom])
                torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
                point += 1


@pytest.mark.parametrize(
    "options",
    [
        {"quality": "iou"},
        {"score": "sum"},
        {"distances": "log"},
        {"origin": "top"},
        {"channels": 0},
        {"convs": -1},
    ],
)
def test_errors(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"model\.head"):
        _head(**options)
