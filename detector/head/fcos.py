"""The FCOS head (Tian et al., arXiv 1904.01355): towers shared by all levels, one prediction per point.

Shape legend: B images, P points of all levels, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from errors import UsageError

QUALITIES = ("none", "centerness", "implicit")

PRIOR = 0.01  # class probability of an untrained head (RetinaNet, arXiv 1708.02002, section 4.1)

# An untrained point predicts a square of 8 strides, the anchor of ATSS. Truths of a level are about that
# large, so the first IoUs already tell good points from bad ones, for the assigners that look at predictions.
START_DISTANCE = 4.0

# Distances stay within exp(-8) and exp(8) strides: beyond any image, and far from float32's limits.
LOG_DISTANCE_LIMIT = 8.0


class FcosHead(nn.Module):
    """Classes, box distances and, optionally, a quality for every point.

    Args:
        in_channels: of the neck's maps.
        num_classes: C.
        levels: how many maps; each has its own learnable scale of the distances (section 3.2).
        channels, convs: width and depth of both towers (3x3 convolution, GroupNorm, ReLU).
        quality: "none"; "centerness", one convolution on the box tower (section 3.3); "implicit", as O2F
            (arXiv 2303.11567): three convolutions of a quarter of the channels on the box tower, then one.

    Raises:
        UsageError: for an unknown quality, or a number below 1 (convs: below 0).
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        levels: int,
        channels: int = 128,
        convs: int = 2,
        quality: str = "none",
    ) -> None:
        super().__init__()
        if quality not in QUALITIES:
            raise UsageError(f"model.head.quality={quality} must be one of {', '.join(QUALITIES)}.")
        if channels < 1 or convs < 0 or num_classes < 1:
            raise UsageError(
                f"model.head: channels={channels} and the number of classes={num_classes} must be at least 1 "
                f"and convs={convs} at least 0."
            )
        width = channels if convs else in_channels
        self.class_tower = _tower(in_channels, channels, convs)
        self.box_tower = _tower(in_channels, channels, convs)
        self.class_out = nn.Conv2d(width, num_classes, 3, padding=1)
        self.box_out = nn.Conv2d(width, 4, 3, padding=1)
        self.scale = nn.Parameter(torch.ones(levels))
        self.quality_out: nn.Module | None = None
        if quality == "centerness":
            self.quality_out = nn.Conv2d(width, 1, 3, padding=1)
        elif quality == "implicit":
            narrow = max(1, width // 4)
            self.quality_out = nn.Sequential(_tower(width, narrow, 3), nn.Conv2d(narrow, 1, 3, padding=1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        assert self.class_out.bias is not None
        assert self.box_out.bias is not None
        nn.init.constant_(self.class_out.bias, math.log(PRIOR / (1 - PRIOR)))
        nn.init.constant_(self.box_out.bias, math.log(START_DISTANCE))

    def forward(self, features: Sequence[Tensor], stride_P: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Maps, finest first, to logits (B, P, C), distances (B, P, 4) in pixels and quality logits (B, P).

        Points come level after level, row after row, as in PointGrid. All results are float32.
        """
        logits, boxes, qualities = [], [], []
        for level, feature in enumerate(features):
            box_feature = self.box_tower(feature)
            logits.append(flat(self.class_out(self.class_tower(feature))))
            # float32 before the scale and the exponential: half precision would round boxes to whole pixels.
            boxes.append(flat(self.box_out(box_feature)).float() * self.scale[level])
            if self.quality_out is not None:
                qualities.append(flat(self.quality_out(box_feature)))
        log_distance_BP4 = torch.cat(boxes, dim=1).clamp(-LOG_DISTANCE_LIMIT, LOG_DISTANCE_LIMIT)
        distances_BP4 = stride_P[:, None] * log_distance_BP4.exp()
        quality_BP = torch.cat(qualities, dim=1).float().squeeze(-1) if qualities else None
        return torch.cat(logits, dim=1).float(), distances_BP4, quality_BP


def flat(map_BCHW: Tensor) -> Tensor:
    """(B, C, rows, columns) to (B, rows x columns, C), row by row; free of copies in channels_last memory."""
    return map_BCHW.permute(0, 2, 3, 1).flatten(1, 2)


def _tower(in_channels: int, channels: int, convs: int) -> nn.Sequential:
    """`convs` times 3x3 convolution, GroupNorm, ReLU."""
    # 32 groups or the largest divisor below, but two channels a group: a lone value would be normalised to 0.
    most = max(1, min(32, channels // 2))
    groups = max(n for n in range(1, most + 1) if channels % n == 0)
    layers: list[nn.Module] = []
    for n in range(convs):
        layers.append(nn.Conv2d(channels if n else in_channels, channels, 3, padding=1, bias=False))
        layers.append(nn.GroupNorm(groups, channels))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
