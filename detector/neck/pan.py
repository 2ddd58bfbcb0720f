"""PicoDet's necks: a path aggregation network with CSP blocks or with depthwise separable ones.

CSP-PAN is that of the paper (PP-PicoDet, arXiv 2111.00902, section 3.2), LC-PAN that of PaddleDetection's
models of 2022. Maps go from fine to coarse, as the backbone gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from detector.neck.depthwise import conv_norm, separable
from errors import UsageError


class PathAggregation(nn.Module):
    """A top-down and a bottom-up path of equal width, and one coarser level.

    Args:
        in_channels, in_strides: of the backbone's maps, finest first.
        channels: of every output.
        block: makes, from two widths, the module that merges two maps of one level.

    Attributes:
        strides: of every output, finest first; the last is twice the backbone's coarsest.

    Raises:
        UsageError: for fewer than two channels.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        in_strides: Sequence[int],
        channels: int,
        block: Callable[[int, int], nn.Module],
    ) -> None:
        super().__init__()
        if channels < 2:
            raise UsageError(f"model.neck.channels={channels} must be at least 2.")
        joints = len(in_channels) - 1
        self.reduce = nn.ModuleList(conv_norm(width, channels) for width in in_channels)
        self.top_down = nn.ModuleList(block(2 * channels, channels) for _ in range(joints))
        self.downsample = nn.ModuleList(separable(channels, channels, stride=2) for _ in range(joints))
        self.bottom_up = nn.ModuleList(block(2 * channels, channels) for _ in range(joints))
        self.extra_before = separable(channels, channels, stride=2)
        self.extra_after = separable(channels, channels, stride=2)
        self.strides = (*in_strides, 2 * in_strides[-1])

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The backbone's maps to one (B, channels, rows, columns) map per stride."""
        reduced = [reduce(feature) for reduce, feature in zip(self.reduce, features, strict=True)]
        down = [reduced[-1]]  # coarsest first
        for finer, block in zip(reversed(reduced[:-1]), self.top_down, strict=True):
            # To the size of the finer map: doubling would be one too large where its side is odd.
            upsampled = interpolate(down[-1], size=finer.shape[-2:], mode="nearest")
            down.append(block(torch.cat((upsampled, finer), dim=1)))
        outputs = [down.pop()]
        for downsample, block in zip(self.downsample, self.bottom_up, strict=True):
            outputs.append(block(torch.cat((downsample(outputs[-1]), down.pop()), dim=1)))
        # The extra level sees the coarsest map before and after the two paths.
        outputs.append(self.extra_before(reduced[-1]) + self.extra_after(outputs[-1]))
        return outputs


class CspBlock(nn.Module):
    """Half of the width takes a detour through a 5x5 depthwise convolution (CSPNet, arXiv 1911.11929)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.detour = nn.Sequential(
            conv_norm(in_channels, half), conv_norm(half, half), separable(half, half)
        )
        self.direct = conv_norm(in_channels, half)
        self.join = conv_norm(2 * half, out_channels)

    def forward(self, feature: Tensor) -> Tensor:
        """(B, in_channels, rows, columns) to (B, out_channels, rows, columns)."""
        return self.join(torch.cat((self.detour(feature), self.direct(feature)), dim=1))


def two_separable(in_channels: int, out_channels: int) -> nn.Module:
    """Two 5x5 depthwise separable convolutions, the first of the full input width."""
    return nn.Sequential(separable(in_channels, in_channels), separable(in_channels, out_channels))


def csp_pan(in_channels: Sequence[int], in_strides: Sequence[int], channels: int) -> PathAggregation:
    """PicoDet's neck of 2021."""
    return PathAggregation(in_channels, in_strides, channels, CspBlock)


def lc_pan(in_channels: Sequence[int], in_strides: Sequence[int], channels: int) -> PathAggregation:
    """PicoDet's neck of 2022."""
    return PathAggregation(in_channels, in_strides, channels, two_separable)
