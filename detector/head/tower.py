"""The tower of convolutions that the heads of FCOS and TOOD are made of."""

from __future__ import annotations

from torch import nn

from detector.head.output_maps import group_norm


def tower(in_channels: int, channels: int, convs: int, bias: bool = False) -> nn.Sequential:
    """`convs` times 3x3 convolution, GroupNorm, ReLU."""
    layers: list[nn.Module] = []
    for n in range(convs):
        layers.append(nn.Conv2d(channels if n else in_channels, channels, 3, padding=1, bias=bias))
        layers.append(group_norm(channels))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
