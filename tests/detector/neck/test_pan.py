"""The neck's levels, and which maps they see."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from assigners.core.types import PointGrid
from detector.neck.pan import CspBlock, PathAggregation, csp_pan, lc_pan
from errors import UsageError

CHANNELS = (5, 7, 9)


def _maps(height: int, width: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = PointGrid.for_image(height, width, (8, 16, 32)).shapes
    return [torch.randn(2, c, *shape, generator=generator) for c, shape in zip(CHANNELS, shapes, strict=True)]


def _neck(make: Callable[..., PathAggregation] = csp_pan, channels: int = 16) -> PathAggregation:
    torch.manual_seed(0)
    return make(CHANNELS, (8, 16, 32), channels).eval()


@pytest.mark.parametrize("make", [csp_pan, lc_pan])
@pytest.mark.parametrize("size", [(64, 64), (96, 160), (71, 97), (33, 225), (1, 8), (320, 300)])
def test_maps_are_those_of_the_grid(size: tuple[int, int], make: Callable[..., PathAggregation]) -> None:
    neck = _neck(make)
    assert neck.strides == (8, 16, 32, 64)
    shapes = [tuple(map_.shape) for map_ in neck(_maps(*size))]
    assert shapes == [(2, 16, *shape) for shape in PointGrid.for_image(*size, neck.strides).shapes]


def test_one_map_is_enough() -> None:
    neck = csp_pan((5,), (16,), 8).eval()
    assert neck.strides == (16, 32)
    assert [map_.shape[-2:] for map_ in neck([torch.randn(1, 5, 7, 4)])] == [(7, 4), (4, 2)]


@pytest.mark.parametrize("make", [csp_pan, lc_pan])
@pytest.mark.parametrize("source", [0, 1, 2])
def test_every_output_sees_every_input(source: int, make: Callable[..., PathAggregation]) -> None:
    maps = [map_.requires_grad_() for map_ in _maps(96, 96)]
    for level, output in enumerate(_neck(make)(maps)):
        (gradient,) = torch.autograd.grad(output.sum(), maps[source], retain_graph=True)
        assert gradient.abs().sum() > 0, level


def test_the_extra_level_is_the_sum_of_its_two_convolutions() -> None:
    neck = _neck()
    maps = _maps(96, 96)
    outputs = neck(maps)
    expected = neck.extra_before(neck.reduce[2](maps[2])) + neck.extra_after(outputs[2])
    torch.testing.assert_close(outputs[3], expected)


# Blocks, downsampling, the extra level; LC-PAN has two convolutions of double width in each block.
@pytest.mark.parametrize(
    ("make", "widths"), [(csp_pan, [8] * 4 + [16] * 4), (lc_pan, [16] * 4 + [32] * 8)], ids=["csp", "lc"]
)
def test_all_spatial_convolutions_are_5x5_and_depthwise(
    make: Callable[..., PathAggregation], widths: list[int]
) -> None:
    spatial = [m for m in _neck(make).modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    assert all(m.kernel_size == (5, 5) and m.groups == m.in_channels == m.out_channels for m in spatial)
    assert sorted(m.out_channels for m in spatial) == widths


def test_a_block_joins_a_detour_and_a_direct_way() -> None:
    block = CspBlock(8, 6).eval()
    feature = torch.randn(1, 8, 5, 5)
    with torch.no_grad():
        both = torch.cat((block.detour(feature), block.direct(feature)), dim=1)
        assert both.shape == (1, 6, 5, 5)
        torch.testing.assert_close(block(feature), block.join(both))
        # Only the detour looks at the neighbours.
        moved = feature.clone()
        moved[..., 0, 0] += 1
        assert torch.equal(block.direct(moved)[..., 2, 2], block.direct(feature)[..., 2, 2])
        assert not torch.equal(block.detour(moved)[..., 2, 2], block.detour(feature)[..., 2, 2])


@pytest.mark.parametrize("channels", [-1, 0, 1])
def test_errors(channels: int) -> None:
    with pytest.raises(UsageError, match=rf"model\.neck\.channels={channels} must be at least 2"):
        csp_pan((5,), (8,), channels)
