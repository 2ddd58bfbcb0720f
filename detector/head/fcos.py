"""The FCOS head (Tian et al., arXiv 1904.01355): towers shared by all levels, one prediction per point.

Shape legend: B images, P points of all levels, C classes, N points of one level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from assigners.core.types import PointGrid
from detector.head.max_filter import MaxFilter, check_max_filter
from detector.head.output_maps import PRIOR, flat, in_float32
from detector.head.tower import tower
from detector.outputs import Outputs, Scoring
from errors import UsageError

DISTANCES = ("exp", "relu")
ORIGINS = ("center", "corner")

# An untrained point predicts a square of 8 strides, the anchor of ATSS. The ground-truth boxes of a level are
# about that large, so the first IoUs already rank points, for the assigners that read predictions.
START_DISTANCE = 4.0

# Distances stay within exp(-8) and exp(8) strides: beyond any image, and far from float32's limits.
LOG_DISTANCE_LIMIT = 8.0


class FcosHead(nn.Module):
    """Classes, box distances and, optionally, a quality for every point.

    Args:
        in_channels: of the neck's maps.
        num_classes: C.
        levels: how many maps; each has its own learned scale of the distances (section 3.2).
        channels, convs: width and depth of both towers (3x3 convolution, GroupNorm, ReLU).
        quality: "none"; "centerness", one convolution on the box tower (section 3.3); "implicit", as O2F
            (arXiv 2303.11567): three convolutions of a quarter of the channels on the box tower, then one.
        score: "product" of class and quality, or their "geometric_mean".
        distances: "exp": exp(scale x output) strides, as published; "relu": relu(scale x output) strides, as
            the later FCOS (arXiv 2006.09214) and O2F.
        tower_bias: the convolutions before a GroupNorm have a bias, as in FCOS, O2F and torchvision.
        origin: what the distances count from: the "center" of a point's cell, which is the point, or, as in
            torchvision's FCOS, the "corner" at (j, i) times the side of the input divided by the number of
            columns or rows, rounded down.
        max_filter: the implicit quality is one convolution on the 3D max filtered box tower (DeFCN, arXiv
            2012.03544, section 3.3) instead of O2F's branch.

    Raises:
        UsageError: for an unknown name, a number below 1 (convs: below 0), or max_filter without an implicit
            quality.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        levels: int,
        channels: int = 128,
        convs: int = 2,
        quality: str = "none",
        score: str = "product",
        distances: str = "exp",
        tower_bias: bool = False,
        origin: str = "center",
        max_filter: bool = False,
    ) -> None:
        super().__init__()
        self.scoring = Scoring.of(quality, score)
        check_max_filter(max_filter, quality)
        for key, value, known in (("distances", distances, DISTANCES), ("origin", origin, ORIGINS)):
            if value not in known:
                raise UsageError(f"model.head.{key}={value} must be one of {', '.join(known)}.")
        if channels < 1 or convs < 0 or num_classes < 1:
            raise UsageError(
                f"model.head: channels={channels} and the number of classes={num_classes} must be at least 1 "
                f"and convs={convs} at least 0."
            )
        self.distances, self.origin = distances, origin
        width = channels if convs else in_channels
        self.class_tower = tower(in_channels, channels, convs, tower_bias)
        self.box_tower = tower(in_channels, channels, convs, tower_bias)
        self.class_out = nn.Conv2d(width, num_classes, 3, padding=1)
        self.box_out = nn.Conv2d(width, 4, 3, padding=1)
        self.scale = nn.Parameter(torch.ones(levels))
        self.quality_out: nn.Module | None = None
        self.max_filter: MaxFilter | None = None
        if max_filter:
            self.max_filter = MaxFilter(nn.Conv2d(width, width, 3, padding=1), width)
        if quality == "centerness" or max_filter:
            self.quality_out = nn.Conv2d(width, 1, 3, padding=1)
        elif quality == "implicit":
            narrow = max(1, width // 4)
            narrow_tower = tower(width, narrow, 3, tower_bias)
            self.quality_out = nn.Sequential(narrow_tower, nn.Conv2d(narrow, 1, 3, padding=1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        assert self.class_out.bias is not None
        assert self.box_out.bias is not None
        nn.init.constant_(self.class_out.bias, math.log(PRIOR / (1 - PRIOR)))
        start = math.log(START_DISTANCE) if distances == "exp" else START_DISTANCE
        nn.init.constant_(self.box_out.bias, start)

    def forward(self, features: Sequence[Tensor], grid: PointGrid) -> Outputs:
        """Maps, finest first, to the predictions of the grid's points, all of them float32."""
        logits = [flat(in_float32(self.class_out, self.class_tower(feature))) for feature in features]
        box_features = [self.box_tower(feature) for feature in features]
        boxes = [
            flat(in_float32(self.box_out, feature)) * scale
            for feature, scale in zip(box_features, self.scale, strict=True)
        ]
        if self.max_filter is not None:
            box_features = self.max_filter(box_features)
        qualities = []
        if self.quality_out is not None:
            qualities = [flat(in_float32(self.quality_out, feature)) for feature in box_features]
        distances_BP4 = grid.stride_P[:, None] * self._strides(torch.cat(boxes, dim=1))
        if self.origin == "corner":
            distances_BP4 = distances_BP4 + _from_corner(grid)
        quality_BP = torch.cat(qualities, dim=1).squeeze(-1) if qualities else None
        return Outputs(grid, torch.cat(logits, dim=1), distances_BP4, quality_BP, scoring=self.scoring)

    def _strides(self, raw_BP4: Tensor) -> Tensor:
        """Distances in strides, at least 0."""
        if self.distances == "relu":
            return raw_BP4.clamp(0, math.exp(LOG_DISTANCE_LIMIT))
        return raw_BP4.clamp(-LOG_DISTANCE_LIMIT, LOG_DISTANCE_LIMIT).exp()


def _from_corner(grid: PointGrid) -> Tensor:
    """What makes distances from a cell's corner distances from its centre, (P, 4) in pixels."""
    shifts = []
    for part, (rows, columns) in zip(grid.level_slices, grid.shapes, strict=True):
        # torchvision's spacing: less than the stride where that does not divide the side.
        x_N, y_N = (grid.centers_P2[part] / grid.stride_P[part, None] - 0.5).unbind(1)
        corner_N2 = torch.stack((x_N * (grid.width // columns), y_N * (grid.height // rows)), dim=1)
        shift_N2 = grid.centers_P2[part] - corner_N2
        shifts.append(torch.cat((shift_N2, -shift_N2), dim=1))
    return torch.cat(shifts)
