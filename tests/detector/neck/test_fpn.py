"""The pyramid's levels."""

import pytest
import torch
from torch.nn.functional import conv2d, relu

from detector.neck.fpn import FeaturePyramid
from errors import UsageError

MAPS = [torch.randn(2, 5, 12, 20), torch.randn(2, 7, 6, 10), torch.randn(2, 9, 3, 5)]


@pytest.mark.parametrize("extra", [0, 1, 2])
def test_strides_and_shapes(extra: int) -> None:
    neck = FeaturePyramid((5, 7, 9), (8, 16, 32), 16, extra)
    assert neck.strides == (8, 16, 32, 64, 128)[: 3 + extra]
    shapes = [tuple(map_.shape) for map_ in neck(MAPS)]
    sizes = [(12, 20), (6, 10), (3, 5), (2, 3), (1, 2)]
    assert shapes == [(2, 16, *size) for size in sizes[: 3 + extra]]


def test_extra_levels_come_from_p5_and_relu_of_p6() -> None:
    neck = FeaturePyramid((5, 7, 9), (8, 16, 32), 4, 2)
    p5, p6, p7 = neck(MAPS)[2:]
    torch.testing.assert_close(p6, conv2d(p5, neck.extra[0].weight, neck.extra[0].bias, 2, 1))
    torch.testing.assert_close(p7, conv2d(relu(p6), neck.extra[1].weight, neck.extra[1].bias, 2, 1))


@pytest.mark.parametrize(("channels", "extra"), [(0, 0), (8, 3), (8, -1)])
def test_errors(channels: int, extra: int) -> None:
    with pytest.raises(UsageError, match=r"model\.neck"):
        FeaturePyramid((5,), (8,), channels, extra)
