"""Backbone, neck and head in a row, and how to build them from a configuration.

Shape legend: B images, P points of all levels, C classes, H and W the size of the network input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from assigners.types import PointGrid
from detector.backbone import Backbone
from detector.fcos_head import FcosHead
from detector.neck import FeaturePyramid
from errors import UsageError

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # RGB, of pixels from 0 to 255
IMAGENET_STD = (58.395, 57.12, 57.375)

BACKBONE_KEYS = ("name", "weights", "levels", "freeze_stages", "freeze_norm")


@dataclass(frozen=True)
class Outputs:
    """What the head says of every point, with its graph.

    Attributes:
        grid: the points, in the order of P.
        logits_BPC: float32 class logits.
        distances_BP4: float32, pixels from the point to the left, top, right and bottom side, all > 0.
        quality_BP: float32 logits, or None where the head has no quality branch.
    """

    grid: PointGrid
    logits_BPC: Tensor
    distances_BP4: Tensor
    quality_BP: Tensor | None


class Detector(nn.Module):
    """A dense detector: one prediction per point of every level."""

    mean: Tensor
    inverse_std: Tensor

    def __init__(self, backbone: Backbone, neck: FeaturePyramid, head: FcosHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.head = head
        self.strides = neck.strides
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        inverse_std = 1.0 / torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
        self.register_buffer("inverse_std", inverse_std, persistent=False)

    def forward(self, images_B3HW: Tensor) -> Outputs:
        """Detects in RGB images of 0 to 255, uint8 (a quarter of the bytes to the device) or float.

        H and W are best multiples of the backbone's last stride; some networks need that.

        Raises:
            ValueError: if the network's maps are not ceil(H / stride) x ceil(W / stride).
        """
        images = images_B3HW.to(dtype=torch.float32, memory_format=torch.channels_last)
        features = self.neck(self.backbone((images - self.mean) * self.inverse_std))
        height, width = images_B3HW.shape[-2:]
        grid = PointGrid.for_image(height, width, self.strides, device=images_B3HW.device)
        shapes = tuple(tuple(feature.shape[-2:]) for feature in features)
        if shapes != grid.shapes:
            raise ValueError(
                f"input of {height}x{width} px: the network's maps are {shapes}, expected {grid.shapes}; "
                f"pad the input to a multiple of {self.strides[-1]}"
            )
        return Outputs(grid, *self.head(features, grid.stride_P))


def build_detector(model_config: Mapping[str, Any], num_classes: int) -> Detector:
    """Builds a detector from the `model` part of the configuration.

    Args:
        model_config: {name, backbone: {name, weights, levels, freeze_stages, freeze_norm},
            neck: {channels, extra_levels}, head: {channels, convs, quality}}; what is left out takes the
            default of Backbone, FeaturePyramid and FcosHead; backbone.name and neck.channels are needed.
        num_classes: C.

    Raises:
        UsageError: for an unknown or missing key, or a value that its part refuses.
    """
    options = _section(model_config, "backbone", BACKBONE_KEYS, "name")
    backbone = Backbone(**options)
    options = _section(model_config, "neck", ("channels", "extra_levels"), "channels")
    neck = FeaturePyramid(backbone.channels, backbone.strides, **options)
    in_channels = options["channels"]
    options = _section(model_config, "head", ("channels", "convs", "quality"), None)
    return Detector(backbone, neck, FcosHead(in_channels, num_classes, len(neck.strides), **options))


def _section(
    config: Mapping[str, Any], section: str, known: tuple[str, ...], needed: str | None
) -> dict[str, Any]:
    """One part of the configuration, its keys checked."""
    options = dict(config.get(section) or {})
    unknown = sorted(str(key) for key in options if key not in known)
    if unknown:
        raise UsageError(f"model.{section} has no {', '.join(unknown)}; it has {', '.join(known)}.")
    if needed is not None and options.get(needed) is None:
        raise UsageError(f"model.{section}.{needed} is missing. Set it.")
    return options
