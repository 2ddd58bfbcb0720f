"""The layers that PicoDet's neck and head are made of (PP-PicoDet, arXiv 2111.00902, section 3)."""

from __future__ import annotations

from torch import nn


def conv_norm(
    in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Module:
    """Convolution, BatchNorm, h-swish; a side of n becomes ceil(n / stride) for odd kernels."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.Hardswish(),
    )


def separable(in_channels: int, out_channels: int, stride: int = 1) -> nn.Module:
    """A 5x5 convolution of each channel alone, then a 1x1 convolution over all of them."""
    return nn.Sequential(
        conv_norm(in_channels, in_channels, 5, stride, groups=in_channels),
        conv_norm(in_channels, out_channels),
    )
