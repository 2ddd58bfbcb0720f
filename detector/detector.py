"""Backbone, neck and head in a row, and how to build them from a configuration.

Shape legend: B images, H and W the size of the network input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from assigners.core.types import PointGrid
from detector.backbone.backbone import Backbone
from detector.head.fcos import FcosHead
from detector.head.pico import PicoHead
from detector.neck.fpn import FeaturePyramid
from detector.neck.pan import PathAggregation, csp_pan, lc_pan
from detector.outputs import Outputs
from errors import UsageError

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # RGB, of pixels from 0 to 255
IMAGENET_STD = (58.395, 57.12, 57.375)

BACKBONE_KEYS = ("name", "weights", "levels", "freeze_stages", "freeze_norm")
# model.neck.kind and model.head.kind: the class, and the keys that it takes. By name, not by `_target_`: a
# checkpoint holds this part of the configuration, and must build nothing but a detector.
NECKS: dict[str, tuple[Callable[..., FeaturePyramid | PathAggregation], tuple[str, ...]]] = {
    "fpn": (FeaturePyramid, ("channels", "extra_levels")),
    "csp_pan": (csp_pan, ("channels",)),
    "lc_pan": (lc_pan, ("channels",)),
}
HEADS: dict[str, tuple[type[FcosHead | PicoHead], tuple[str, ...]]] = {
    "fcos": (FcosHead, ("channels", "convs", "quality", "score", "distances", "tower_bias", "origin")),
    "pico": (PicoHead, ("channels", "convs", "reg_max", "quality", "score")),
}


class Detector(nn.Module):
    """A dense detector: one prediction per point of every level."""

    mean: Tensor
    inverse_std: Tensor

    def __init__(
        self, backbone: Backbone, neck: FeaturePyramid | PathAggregation, head: FcosHead | PicoHead
    ) -> None:
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
        return self.head(features, grid)


def build_detector(model_config: Mapping[str, Any], num_classes: int) -> Detector:
    """Builds a detector from the `model` part of the configuration.

    Args:
        model_config: {name, backbone: {name, weights, levels, freeze_stages, freeze_norm},
            neck: {kind, channels, ...}, head: {kind, ...}}; NECKS and HEADS hold the keys of each kind. What
            is left out takes the default of Backbone, FeaturePyramid ("fpn") and FcosHead ("fcos") or of the
            kind that is named; backbone.name and neck.channels are needed.
        num_classes: C.

    Raises:
        UsageError: for an unknown or missing key, or a value that its part refuses.
    """
    backbone = Backbone(**_section(model_config, "backbone", BACKBONE_KEYS, "name"))
    kind, keys = _kind(model_config, "neck", NECKS, "fpn")
    options = _section(model_config, "neck", keys, "channels")
    neck = kind(backbone.channels, backbone.strides, **options)
    in_channels = options["channels"]
    kind, keys = _kind(model_config, "head", HEADS, "fcos")
    options = _section(model_config, "head", keys, None)
    return Detector(backbone, neck, kind(in_channels, num_classes, len(neck.strides), **options))


def _kind(
    config: Mapping[str, Any], section: str, known: Mapping[str, tuple[Any, tuple[str, ...]]], default: str
) -> tuple[Any, tuple[str, ...]]:
    """The class that a part of the configuration asks for, and its keys."""
    kind = (config.get(section) or {}).get("kind", default)
    if kind not in known:
        raise UsageError(f"model.{section}.kind={kind} must be one of {', '.join(known)}.")
    return known[kind]


def _section(
    config: Mapping[str, Any], section: str, known: tuple[str, ...], needed: str | None
) -> dict[str, Any]:
    """One part of the configuration, its keys checked."""
    options = {key: value for key, value in (config.get(section) or {}).items() if key != "kind"}
    unknown = sorted(str(key) for key in options if key not in known)
    if unknown:
        raise UsageError(f"model.{section} has no {', '.join(unknown)}; it has {', '.join(known)}.")
    if needed is not None and options.get(needed) is None:
        raise UsageError(f"model.{section}.{needed} is missing. Set it.")
    return options
