"""3D max filtering against plain loops, and where the heads put it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from detector.detector import build_detector
from detector.head.max_filter import MaxFilter
from errors import UsageError


def plain(module: MaxFilter, features: list[Tensor]) -> list[Tensor]:
    responses = [module.conv(feature) for feature in features]
    result = []
    for level, feature in enumerate(features):
        height, width = feature.shape[-2:]
        highest = torch.full_like(feature, -torch.inf)
        for other in range(max(0, level - 1), min(len(features), level + 2)):
            near = responses[other]
            if other != level:
                near = interpolate(near, size=(height, width), mode="bilinear", align_corners=False)
            for i in range(height):
                for j in range(width):
                    window = near[..., max(0, i - 1) : i + 2, max(0, j - 1) : j + 2].flatten(2).max(2).values
                    highest[..., i, j] = torch.maximum(highest[..., i, j], window)
        result.append(module.norm(highest + feature).clamp(min=0))
    return result


@torch.no_grad()
def test_the_maximum_over_three_levels_and_nine_points() -> None:
    torch.manual_seed(0)
    module = MaxFilter(nn.Conv2d(6, 6, 3, padding=1), 6)
    features = [torch.randn(2, 6, *size) for size in ((7, 9), (4, 5), (2, 3), (1, 2))]
    for got, expected in zip(module(features), plain(module, features), strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("kind", ["fcos", "pico"])
def test_it_changes_the_quality_and_nothing_else(kind: str) -> None:
    """A far neighbour's features reach a point's quality through the pooling, and its gradient goes back."""
    config = {
        "backbone": {"name": "lcnet_050"},
        "neck": {"channels": 8},
        "head": {"kind": kind, "channels": 8, "quality": "implicit", "max_filter": True},
    }
    torch.manual_seed(0)
    model = build_detector(config, 3).eval()
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    before = model(images)
    with torch.no_grad():
        for parameter in model.head.max_filter.parameters():  # type: ignore[union-attr]
            parameter += torch.randn_like(parameter)
    after = model(images)
    assert torch.equal(before.logits_BPC, after.logits_BPC)
    assert torch.equal(before.distances_BP4, after.distances_BP4)
    assert before.quality_BP is not None
    assert after.quality_BP is not None
    assert not torch.allclose(before.quality_BP, after.quality_BP)
    after.quality_BP.sum().backward()
    assert all(p.grad is not None for p in model.head.max_filter.parameters())  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["fcos", "pico"])
def test_it_needs_an_implicit_quality(kind: str) -> None:
    config = {
        "backbone": {"name": "lcnet_050"},
        "neck": {"channels": 8},
        "head": {"kind": kind, "quality": "none", "max_filter": True},
    }
    with pytest.raises(UsageError, match=r"max_filter=true needs model\.head\.quality=implicit, not none"):
        build_detector(config, 3)


@torch.no_grad()
def test_it_can_be_exported() -> None:
    torch.manual_seed(0)
    module = MaxFilter(nn.Conv2d(8, 8, 3, padding=1), 8).eval()
    features = [torch.randn(1, 8, size, size) for size in (8, 4, 2)]
    exported = torch.export.export(module, (features,)).module()
    for got, expected in zip(exported(features), module(features), strict=True):
        torch.testing.assert_close(got, expected)
