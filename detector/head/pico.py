"""PicoDet's head (PP-PicoDet, arXiv 2111.00902, section 3.3): boxes as distributions of their distances.

Shape legend: B images, P points of all levels, C classes, E = reg_max + 1 values of a distance, 0 to reg_max
strides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from assigners.core.types import PointGrid
from detector.head.max_filter import MaxFilter, check_max_filter
from detector.head.output_maps import PRIOR, flat, in_float32
from detector.neck.depthwise import conv_norm, separable
from detector.outputs import Outputs, Scoring
from errors import UsageError


class PicoHead(nn.Module):
    """Classes, box distances and, optionally, a quality for every point.

    Every level has its own tower of 5x5 depthwise separable convolutions, which classes and boxes share, and
    its own 1x1 convolutions on top of it. A distance is the mean of a distribution over 0, 1, ..., reg_max
    strides (Generalized Focal Loss, arXiv 2006.04388, equation 4), so no box reaches farther than reg_max
    strides from its point.

    Args:
        in_channels: of the neck's maps.
        num_classes: C.
        levels: how many maps.
        channels, convs: width and depth of the towers.
        reg_max: the longest distance, in strides.
        quality: "none"; "centerness", a 1x1 convolution on the tower; "implicit", learned through the score.
        score: "product" of class and quality, whose implicit branch is O2F's (arXiv 2303.11567): a quarter of
            the channels, a 5x5 depthwise separable convolution of that width, and one of 1x1. Or their
            "geometric_mean", whose implicit branch is the class alignment of PicoDet of 2022.
        squeeze: classes and boxes read the tower through a channel attention of its mean over the map, as in
            PicoDet of 2022.
        max_filter: the implicit quality is a 1x1 convolution on the 3D max filtered tower (DeFCN, arXiv
            2012.03544, section 3.3; here with a depthwise separable convolution) instead of O2F's branch.

    Raises:
        UsageError: for an unknown quality or score, a number below 1 (convs: below 0), or max_filter without
            an implicit quality.
    """

    distance_E: Tensor

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        levels: int,
        channels: int = 96,
        convs: int = 2,
        reg_max: int = 7,
        quality: str = "none",
        score: str = "product",
        max_filter: bool = False,
        squeeze: bool = False,
    ) -> None:
        super().__init__()
        self.scoring = Scoring.of(quality, score)
        check_max_filter(max_filter, quality)
        if channels < 1 or convs < 0 or num_classes < 1 or reg_max < 1:
            raise UsageError(
                f"model.head: channels={channels}, reg_max={reg_max} and the number of classes={num_classes} "
                f"must be at least 1 and convs={convs} at least 0."
            )
        width = channels if convs else in_channels
        widths = [in_channels, *[channels] * convs]
        self.reg_max = reg_max
        self.towers = nn.ModuleList(
            nn.Sequential(*(separable(*pair) for pair in pairwise(widths))) for _ in range(levels)
        )
        self.squeezes = nn.ModuleList(Squeeze(width) if squeeze else nn.Identity() for _ in range(levels))
        self.class_outs = nn.ModuleList(_output(width, num_classes) for _ in range(levels))
        self.box_outs = nn.ModuleList(_output(width, 4 * (reg_max + 1)) for _ in range(levels))
        self.quality_outs: nn.ModuleList | None = None
        if quality != "none":
            implicit = _alignment if self.scoring.geometric_mean else _implicit
            make = _output if quality == "centerness" or max_filter else implicit
            self.quality_outs = nn.ModuleList(make(width, 1) for _ in range(levels))
        self.max_filter: MaxFilter | None = None
        if max_filter:
            depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width, bias=False)
            self.max_filter = MaxFilter(nn.Sequential(depthwise, nn.Conv2d(width, width, 1)), width)
        for out in self.class_outs:
            assert isinstance(out.bias, Tensor)
            # An untrained box needs no bias: the mean of a uniform distribution is a good guess of its size.
            nn.init.constant_(out.bias, math.log(PRIOR / (1 - PRIOR)))
        distance_E = torch.arange(reg_max + 1, dtype=torch.float32)
        self.register_buffer("distance_E", distance_E, persistent=False)

    def forward(self, features: Sequence[Tensor], grid: PointGrid) -> Outputs:
        """Maps, finest first, to the predictions of the grid's points, all of them float32."""
        maps = [tower(feature) for tower, feature in zip(self.towers, features, strict=True)]
        squeezed = [squeeze(feature) for squeeze, feature in zip(self.squeezes, maps, strict=True)]
        logits, boxes = _flat_all(self.class_outs, squeezed), _flat_all(self.box_outs, squeezed)
        if self.max_filter is not None:
            maps = self.max_filter(maps)
        qualities = _flat_all(self.quality_outs, maps) if self.quality_outs is not None else []
        distribution_BP4E = torch.cat(boxes, dim=1).unflatten(-1, (4, self.reg_max + 1))
        # A sum of products, not a matrix product, which autocast would round to bfloat16.
        strides_BP4 = (distribution_BP4E.softmax(dim=-1) * self.distance_E).sum(dim=-1)
        distances_BP4 = grid.stride_P[:, None] * strides_BP4
        quality_BP = torch.cat(qualities, dim=1).squeeze(-1) if qualities else None
        logits_BPC = torch.cat(logits, dim=1)
        return Outputs(grid, logits_BPC, distances_BP4, quality_BP, distribution_BP4E, self.scoring)


class Squeeze(nn.Module):
    """Weights channels by a sigmoid of their means over the map, then mixes them by a 1x1 convolution.

    Squeeze-and-excitation (arXiv 1709.01507) without the narrow layer, as PaddleDetection's PicoDet has it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(channels, channels, 1)
        self.mix = conv_norm(channels, channels)
        nn.init.normal_(self.weigh.weight, std=0.001)

    def forward(self, feature: Tensor) -> Tensor:
        """(B, channels, rows, columns) to the same shape."""
        weight = self.weigh(feature.mean(dim=(2, 3), keepdim=True)).sigmoid()
        mixed: Tensor = self.mix(feature * weight)
        return mixed


def _flat_all(outs: Iterable[nn.Module], maps: Iterable[Tensor]) -> list[Tensor]:
    """The output of each level's own module, flat."""
    return [flat(in_float32(out, feature)) for out, feature in zip(outs, maps, strict=True)]


def _output(in_channels: int, out_channels: int) -> nn.Module:
    conv = nn.Conv2d(in_channels, out_channels, 1)
    nn.init.normal_(conv.weight, std=0.01)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def _implicit(in_channels: int, out_channels: int) -> nn.Module:
    narrow = max(1, in_channels // 4)
    return nn.Sequential(
        conv_norm(in_channels, narrow), separable(narrow, narrow), _output(narrow, out_channels)
    )


def _alignment(in_channels: int, out_channels: int) -> nn.Module:
    """A 5x5 convolution to one channel, a norm and h-swish, then a scale and a norm."""
    scale = nn.Sequential(nn.Conv2d(out_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))
    return nn.Sequential(conv_norm(in_channels, out_channels, 5), scale)
