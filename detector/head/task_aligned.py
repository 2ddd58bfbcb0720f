"""The task-aligned head of TOOD (arXiv 2108.07755, section 3.1).

Shape legend: B images, P points of all levels, C classes, H and W rows and columns of a map, N convolutions
of the tower, Q their channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from assigners.core.types import PointGrid
from detector.head.fcos import LOG_DISTANCE_LIMIT, START_DISTANCE
from detector.head.output_maps import PRIOR, flat, group_norm, in_float32
from detector.head.tower import tower
from detector.outputs import Outputs, Scoring
from errors import UsageError


class TaskAlignedHead(nn.Module):
    """Classes, box distances and an alignment for every point.

    One tower serves both tasks; layer attention weighs its N outputs for each task and image. From all of
    them come two more maps: the alignment, a quality whose geometric mean with the class probability is the
    score, and for each side of a box an offset to the place of the map whose side is taken instead, by
    bilinear sampling. So a box may end beside its point, and its distances may be negative.

    Args:
        in_channels: of the neck's maps.
        num_classes: C.
        levels: how many maps; each has its own learned scale of the distances.
        channels, convs: Q and N.
        quality, score, max_filter: "implicit", "geometric_mean" and False: the alignment is trained through
            the score alone, and nothing is filtered.

    Raises:
        UsageError: for another value of these, or a number that is too small.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        levels: int,
        channels: int = 256,
        convs: int = 6,
        quality: str = "implicit",
        score: str = "geometric_mean",
        max_filter: bool = False,
    ) -> None:
        super().__init__()
        for key, value, needed in (
            ("quality", quality, "implicit"),
            ("score", score, "geometric_mean"),
            ("max_filter", max_filter, False),
        ):
            if value != needed:
                raise UsageError(
                    f"model.head.{key}={value}: the task-aligned head needs {needed}, "
                    "as model=tood_r50 assigner=tood sets it."
                )
        if channels < 8 or convs < 1 or num_classes < 1:
            raise UsageError(
                f"model.head: channels={channels} must be at least 8, convs={convs} and the number of "
                f"classes={num_classes} at least 1."
            )
        self.scoring = Scoring.of(quality, score)
        self.tower = nn.ModuleList(tower(channels if n else in_channels, channels, 1) for n in range(convs))
        self.class_attention = LayerAttention(channels, convs)
        self.box_attention = LayerAttention(channels, convs)
        self.class_out = nn.Conv2d(channels, num_classes, 3, padding=1)
        self.box_out = nn.Conv2d(channels, 4, 3, padding=1)
        self.scale = nn.Parameter(torch.ones(levels))
        self.quality_out = _from_all(channels, convs, 1)
        self.offset_out = _from_all(channels, convs, 8)
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d):
                # Attention and offsets start near 0: equal weights, and every side from its own point.
                small = "attention.weigh" in name or name.startswith("offset_out")
                nn.init.normal_(module.weight, std=0.001 if small else 0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for out, bias in (
            (self.class_out, math.log(PRIOR / (1 - PRIOR))),
            (self.quality_out[-1], math.log(PRIOR / (1 - PRIOR))),
            (self.box_out, math.log(START_DISTANCE)),
        ):
            assert isinstance(out.bias, Tensor)
            nn.init.constant_(out.bias, bias)

    def forward(self, features: Sequence[Tensor], grid: PointGrid) -> Outputs:
        """Maps, finest first, to the predictions of the grid's points, all of them float32."""
        logits, distances, qualities = [], [], []
        for level, feature in enumerate(features):
            layers = []
            for conv in self.tower:
                feature = conv(feature)
                layers.append(feature)
            all_layers = torch.cat(layers, dim=1)
            mean = all_layers.mean(dim=(2, 3), keepdim=True)
            class_feature = self.class_attention(all_layers, mean)
            logits.append(flat(in_float32(self.class_out, class_feature)))
            box_feature = self.box_attention(all_layers, mean)
            raw_B4HW = in_float32(self.box_out, box_feature).clamp(-LOG_DISTANCE_LIMIT, LOG_DISTANCE_LIMIT)
            offset_B8HW = in_float32(self.offset_out, all_layers)
            center_P2 = grid.centers_P2[grid.level_slices[level]] / grid.strides[level]
            strides_BP4 = _aligned(self.scale[level] * raw_B4HW.exp(), offset_B8HW, center_P2)
            distances.append(grid.strides[level] * strides_BP4)
            qualities.append(flat(in_float32(self.quality_out, all_layers)))
        quality_BP = torch.cat(qualities, dim=1).squeeze(-1)
        return Outputs(
            grid, torch.cat(logits, dim=1), torch.cat(distances, dim=1), quality_BP, scoring=self.scoring
        )


class LayerAttention(nn.Module):
    """The outputs of all layers, weighed for one task and image, to the features of that task."""

    def __init__(self, channels: int, convs: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.Conv2d(convs * channels, channels // 8, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // 8, convs, 1),
            nn.Sigmoid(),
        )
        self.reduce = nn.Conv2d(convs * channels, channels, 1, bias=False)
        self.norm = group_norm(channels)

    def forward(self, all_layers: Tensor, mean: Tensor) -> Tensor:
        """(B, N x Q, H, W) and its mean over H and W to (B, Q, H, W)."""
        height, width = all_layers.shape[-2:]
        weight_BN = self.weigh(mean).flatten(1)
        # The weights of the layers go into the convolution's, which are smaller than the maps.
        kernel_QNQ = self.reduce.weight.unflatten(1, (weight_BN.shape[1], -1)).squeeze((-1, -2))
        kernel_BQN = (weight_BN[:, None, :, None] * kernel_QNQ).flatten(2)
        reduced = flat(all_layers) @ kernel_BQN.transpose(1, 2)
        return self.norm(reduced.unflatten(1, (height, width)).permute(0, 3, 1, 2)).relu()


def _aligned(distances_B4HW: Tensor, offset_B8HW: Tensor, center_P2: Tensor) -> Tensor:
    """Distances from each point to the sides that its offsets point to, (B, P, 4) in strides.

    Where the sides taken from other places would cross, the box of the point's own place stays.
    """
    shape = distances_B4HW.shape[-2:]
    center_2HW = center_P2.T.unflatten(1, shape)
    near_B2HW, far_B2HW = distances_B4HW.chunk(2, dim=1)
    box_B4HW = torch.cat((center_2HW - near_B2HW, center_2HW + far_B2HW), dim=1)
    # A 1x1 convolution of ones that reads every channel at its own offset (rows, columns).
    sampled_B4HW = deform_conv2d(
        box_B4HW.contiguous(), offset_B8HW.contiguous(), box_B4HW.new_ones(4, 1, 1, 1)
    )
    crossed_B1HW = (sampled_B4HW[:, :2] > sampled_B4HW[:, 2:]).any(dim=1, keepdim=True)
    near_B2HW, far_B2HW = torch.where(crossed_B1HW, box_B4HW, sampled_B4HW).chunk(2, dim=1)
    return flat(torch.cat((center_2HW - near_B2HW, far_B2HW - center_2HW), dim=1))


def _from_all(channels: int, convs: int, out_channels: int) -> nn.Sequential:
    narrow = channels // 4
    return nn.Sequential(
        nn.Conv2d(convs * channels, narrow, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(narrow, out_channels, 3, padding=1),
    )
