"""Backbone, neck and one head per predictor, and how to build them from a configuration.

Shape legend: B images, H and W the size of the network input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from assigners.core.types import PointGrid
from detector.backbone.backbone import Backbone
from detector.head.fcos import FcosHead
from detector.head.pico import PicoHead
from detector.head.task_aligned import TaskAlignedHead
from detector.neck.fpn import FeaturePyramid
from detector.neck.pan import PathAggregation, csp_pan, lc_pan
from detector.outputs import Outputs
from detector.winograd import use_winograd
from errors import UsageError

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # RGB, of pixels from 0 to 255
IMAGENET_STD = (58.395, 57.12, 57.375)

Head = FcosHead | PicoHead | TaskAlignedHead

BACKBONE_KEYS = ("name", "weights", "levels", "freeze_stages", "freeze_norm")
# model.neck.kind and model.head.kind: the class, and the keys that it takes. By name, not by `_target_`: a
# checkpoint holds this part of the configuration, and must build nothing but a detector.
NECKS: dict[str, tuple[Callable[..., FeaturePyramid | PathAggregation], tuple[str, ...]]] = {
    "fpn": (FeaturePyramid, ("channels", "extra_levels")),
    "csp_pan": (csp_pan, ("channels",)),
    "lc_pan": (lc_pan, ("channels",)),
}
HEADS: dict[str, tuple[type[Head], tuple[str, ...]]] = {
    "fcos": (
        FcosHead,
        ("channels", "convs", "quality", "score", "distances", "tower_bias", "origin", "max_filter"),
    ),
    "pico": (PicoHead, ("channels", "convs", "reg_max", "quality", "score", "max_filter", "squeeze")),
    "task_aligned": (TaskAlignedHead, ("channels", "convs", "quality", "score", "max_filter")),
}


class Detector(nn.Module):
    """A dense detector: each of its predictors makes one prediction for every point of every level.

    Several predictors read the same features (consistent dual assignment, YOLOv10, arXiv 2405.14458, section
    3.1). Inference uses one of them and does not run the others.

    Args:
        heads: the head of each predictor by its name, which is also that of its submodule. The only one of a
            plain detector is called "head".
        gradients: the share of a predictor's gradient that reaches the features, 0 to 1; 1 if not given.
        frozen: names of submodules that are not trained: their parameters take no gradient and their norms
            stay in evaluation mode.

    Attributes:
        predictors: the names, in the order of `heads`.
        inference: the name of the predictor that `forward` returns, the first one until `use` is called.
        peak_window: of the NMS-free selection, see Outputs; None until `use` is called.

    Raises:
        UsageError: for a gradient outside 0 to 1 or a frozen part that does not exist.
    """

    mean: Tensor
    inverse_std: Tensor
    head: Head  # where a detector has but one predictor

    def __init__(
        self,
        backbone: Backbone,
        neck: FeaturePyramid | PathAggregation,
        heads: Mapping[str, Head],
        gradients: Mapping[str, float] | None = None,
        frozen: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.predictors = tuple(heads)
        for name, head in heads.items():
            self.add_module(name, head)
        self.inference = self.predictors[0]
        self.peak_window: int | None = None
        self.gradients = dict(gradients or {})
        for name, share in self.gradients.items():
            if not 0 <= share <= 1:
                raise UsageError(f"predictors.{name}.gradient={share} must lie in 0 to 1.")
        parts = ("backbone", "neck", *self.predictors)
        unknown = [name for name in frozen if name not in parts]
        if unknown:
            raise UsageError(f"model.frozen={list(frozen)}: choose from {', '.join(parts)}.")
        self.frozen = tuple(frozen)
        for name in self.frozen:
            self.get_submodule(name).requires_grad_(False)
        self.strides = neck.strides
        use_winograd(self)
        for module in self.modules():
            if isinstance(module, nn.Hardswish):
                module.inplace = False  # in place, autograd copies the input first
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        inverse_std = 1.0 / torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
        self.register_buffer("inverse_std", inverse_std, persistent=False)

    def forward(self, images_B3HW: Tensor) -> Outputs:
        """The outputs of the predictor that inference uses; see `outputs`."""
        return self.outputs(images_B3HW, (self.inference,))[self.inference]

    def outputs(self, images_B3HW: Tensor, names: Iterable[str] | None = None) -> dict[str, Outputs]:
        """The outputs of the predictors for RGB images of 0 to 255, uint8 or float.

        H and W are best multiples of the backbone's last stride; some networks need that.

        Args:
            names: of the predictors to run; None for all.

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
        names = self.predictors if names is None else names
        return {name: self.head_outputs(features, grid, name) for name in names}

    def head_outputs(self, features: Sequence[Tensor], grid: PointGrid, name: str | None = None) -> Outputs:
        """The outputs of a predictor, by default that of inference, for the neck's maps."""
        name = self.inference if name is None else name
        head: Head = self.get_submodule(name)  # type: ignore[assignment]
        outputs = head(scale_gradient(features, self.gradients.get(name, 1.0)), grid)
        return replace(outputs, peak_window=self.peak_window)

    def use(self, predictor: str | None, peak_window: int | None) -> None:
        """Chooses the predictor of inference, None for the first one, and the window of its local maxima.

        Raises:
            UsageError: if there is no such predictor, or the window is not odd and above 1.
        """
        predictor = self.predictors[0] if predictor is None else predictor
        if predictor not in self.predictors:
            raise UsageError(f"eval.predictor={predictor}: the detector has {', '.join(self.predictors)}.")
        if peak_window is not None and (peak_window < 3 or peak_window % 2 == 0):
            raise UsageError(f"eval.peak_window={peak_window} must be an odd number of at least 3, or null.")
        self.inference, self.peak_window = predictor, peak_window

    def train(self, mode: bool = True) -> Detector:
        """Switches all but the frozen parts, whose norms would otherwise go on measuring."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self


class TrainedPredictors(nn.Module):
    """The network of training: its forward pass returns the outputs of the named predictors of a detector."""

    def __init__(self, detector: Detector, names: Sequence[str]) -> None:
        super().__init__()
        self.detector, self.names = detector, tuple(names)

    def forward(self, images_B3HW: Tensor) -> dict[str, Outputs]:
        return self.detector.outputs(images_B3HW, self.names)


def scale_gradient(features: Sequence[Tensor], share: float) -> list[Tensor]:
    """The same maps, which pass back this share of their gradient; 0 cuts the graph."""
    if share == 1:
        return list(features)
    if share == 0:
        return [feature.detach() for feature in features]
    return [feature * share + feature.detach() * (1 - share) for feature in features]


def build_detector(
    model_config: Mapping[str, Any],
    num_classes: int,
    predictors: Mapping[str, Mapping[str, Any]] | None = None,
) -> Detector:
    """Builds a detector from the `model` part of the configuration.

    Args:
        model_config: {name, backbone: {name, weights, levels, freeze_stages, freeze_norm},
            neck: {kind, channels, ...}, head: {kind, ...}, frozen: [...]}; NECKS and HEADS hold the keys of
            each kind. What is left out takes the default of Backbone, FeaturePyramid ("fpn") and FcosHead
            ("fcos") or of the kind that is named; backbone.name and neck.channels are needed.
        num_classes: C.
        predictors: {gradient, head: {what differs from model.head}} of each; None for a single one.

    Raises:
        UsageError: for an unknown or missing key, or a value that its part refuses.
    """
    backbone = Backbone(**_section(model_config, "backbone", BACKBONE_KEYS, "name"))
    kind, keys = _kind(model_config, "neck", NECKS, "fpn")
    options = _section(model_config, "neck", keys, "channels")
    neck = kind(backbone.channels, backbone.strides, **options)
    in_channels = options["channels"]
    kind, keys = _kind(model_config, "head", HEADS, "fcos")
    heads, gradients = {}, {}
    for name, predictor in (predictors or {"head": {}}).items():
        own = {**(model_config.get("head") or {}), **predictor.get("head", {})}
        options = _section({"head": own}, "head", keys, None)
        heads[name] = kind(in_channels, num_classes, len(neck.strides), **options)
        gradients[name] = predictor.get("gradient", 1.0)
    return Detector(backbone, neck, heads, gradients, model_config.get("frozen") or ())


def _kind(
    config: Mapping[str, Any], section: str, known: Mapping[str, tuple[Any, tuple[str, ...]]], default: str
) -> tuple[Any, tuple[str, ...]]:
    """The class that `kind` names in a part of the configuration, and its keys."""
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
