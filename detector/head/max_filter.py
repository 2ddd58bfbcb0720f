"""3D max filtering (DeFCN, arXiv 2012.03544, section 3.3): what points learn of their neighbours.

Shape legend: B images, H and W rows and columns of a map, N channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, relu

from detector.head.output_maps import group_norm
from errors import UsageError


class MaxFilter(nn.Module):
    """Adds to each map the highest response around each point, of its own level and of the two beside it.

    A point learns from it whether a neighbour responds as much as it does: what a one-to-one predictor must
    know to leave an object to its best point.

    Args:
        conv: turns the maps, all of N channels, into the responses: N channels, the same size.
        channels: N.
    """

    def __init__(self, conv: nn.Module, channels: int) -> None:
        super().__init__()
        self.conv = conv
        self.norm = group_norm(channels)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, N, H, W) of all levels, finest first, to maps of the same sizes.

        Steps: convolution; the neighbouring levels resized to this one, bilinear; the maximum over 3x3 points
        and up to three levels; sum with the input; GroupNorm; ReLU.
        """
        responses = [self.conv(feature) for feature in features]
        filtered = []
        for level, feature in enumerate(features):
            size = feature.shape[-2:]
            near = [
                response if other == level else interpolate(response, size=size, mode="bilinear")
                for other, response in enumerate(responses)
                if abs(other - level) <= 1
            ]
            highest = max_pool2d(torch.stack(near).amax(dim=0), 3, stride=1, padding=1)
            filtered.append(relu(self.norm(highest + feature)))
        return filtered


def check_max_filter(max_filter: bool, quality: str) -> None:
    """Refuses a filter where nothing is scored by what it filters.

    Raises:
        UsageError: naming the quality that it needs.
    """
    if max_filter and quality != "implicit":
        raise UsageError(
            f"model.head.max_filter=true needs model.head.quality=implicit, not {quality}: "
            "the filtered maps give the quality that multiplies the class scores"
        )
