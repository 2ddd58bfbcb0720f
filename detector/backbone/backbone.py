"""A timm network as the backbone: the feature maps of chosen levels, with parts of it frozen.

Level n has stride 2 ** n.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import detector.backbone.lcnet  # noqa: F401  # makes its width known to timm
from detector.backbone.fixed_norm import FixedNorm
from detector.backbone.pretrained import load_weights
from errors import UsageError, nearest

FREEZE_NORM = ("none", "statistics", "all")


class Backbone(nn.Module):
    """The first stages of a timm network.

    Args:
        name: a timm model, for example "lcnet_050" or "resnet50.a1_in1k".
        levels: ascending log2 strides of the outputs.
        weights: None for random ones, "imagenet" for timm's hub, or the path of a state dict file.
        freeze_stages: 0 trains everything; n >= 1 freezes the stem and the first n stages, that is all up to
            the feature map of stride 2 ** (n + 1): in a ResNet the stem and layer1 to layer n.
        freeze_norm: "none"; "statistics" keeps every BatchNorm in eval mode, while its scale and shift are
            learned outside the frozen stages, as published recipes with ImageNet weights do; "all" freezes
            scale and shift too. False and True, which older checkpoints hold, are "none" and "all".

    Attributes:
        strides, channels: one of each for every output.

    Raises:
        UsageError: for an unknown name, levels that the network does not have, weights that cannot be had or
            do not fit, or a freeze_stages beyond the last stage in use, or an
            unknown freeze_norm.
    """

    def __init__(
        self,
        name: str,
        levels: Sequence[int] = (3, 4, 5),
        weights: str | None = None,
        freeze_stages: int = 0,
        freeze_norm: str | bool = "none",
    ) -> None:
        super().__init__()
        if isinstance(freeze_norm, bool):
            freeze_norm = "all" if freeze_norm else "none"
        if freeze_norm not in FREEZE_NORM:
            raise UsageError(f"model.backbone.freeze_norm={freeze_norm} must be {', '.join(FREEZE_NORM)}.")
        self.features = _create(name, _level_indices(name, levels), weights == "imagenet")
        if freeze_norm == "all":
            for key, module in list(self.features.named_modules()):
                if type(module) is nn.BatchNorm2d and module.affine:
                    self.features.set_submodule(key, FixedNorm(module))
        if weights is not None and weights != "imagenet":
            load_weights(self.features, Path(weights), name)
        self.strides = tuple(2**level for level in levels)
        self.channels = tuple(_info(self.features).channels())
        frozen = _first_stages(self.features, name, freeze_stages) if freeze_stages else []
        norms = [m for m in self.features.modules() if isinstance(m, _BatchNorm)]
        for module in [*frozen, *(norms if freeze_norm == "all" else [])]:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
        # A plain list: these modules are registered already.
        self._in_eval_mode = [*frozen, *(norms if freeze_norm != "none" else [])]
        self.train(self.training)

    def forward(self, images_B3HW: Tensor) -> list[Tensor]:
        """Normalised float images to one (B, channels, H / stride, W / stride) map per level."""
        return self.features(images_B3HW)

    def train(self, mode: bool = True) -> Backbone:
        """As nn.Module.train, but what is frozen stays in eval mode: its statistics must not move."""
        super().train(mode)
        for module in self._in_eval_mode:
            module.training = False
        return self


def _create(name: str, indices: Sequence[int] | None, pretrained: bool) -> nn.Module:
    """timm's feature extractor; `indices` None: the levels of timm's choice."""
    chosen = {} if indices is None else {"out_indices": tuple(indices)}
    try:
        return timm.create_model(name, features_only=True, pretrained=pretrained, **chosen)
    except Exception as error:  # the hub's clients raise many unrelated types: no network, no such tag
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if pretrained:
            raise UsageError(
                f"model.backbone.weights=imagenet: timm could not get weights for {name} ({reason}). "
                "Download them where there is network access and set model.backbone.weights=FILE, "
                "or null for random ones."
            ) from error
        raise UsageError(
            f"model.backbone.name={name}: timm cannot make a feature extractor of it ({reason}). "
            "Choose a convolutional network, for example lcnet_050, resnet18 or resnet50."
        ) from error


def _info(features: nn.Module) -> Any:
    """timm's description of the feature maps."""
    return features.feature_info


def _level_indices(name: str, levels: Sequence[int]) -> list[int]:
    """Which of timm's feature maps have the strides asked for; of several of one stride the deepest."""
    if not timm.is_model(name):
        close = nearest(name, timm.list_models(), most=5)
        meant = f"Did you mean {', '.join(close)}?" if close else "See timm.list_models() for all names."
        raise UsageError(f"model.backbone.name={name} is not a timm model. {meant}")
    if not levels or list(levels) != sorted(set(levels)):
        raise UsageError(f"model.backbone.levels={list(levels)} must be ascending, for example [3, 4, 5].")
    # Built with all its maps first, because timm knows their strides only then.
    probe = _create(name, None, pretrained=False)
    if getattr(getattr(probe, "output_fmt", "NCHW"), "value", "NCHW") != "NCHW":
        raise UsageError(
            f"model.backbone.name={name} gives its channels last, which the neck cannot read. "
            "Choose a convolutional network, for example lcnet_050, resnet18 or resnet50."
        )
    index_of_stride = {info["reduction"]: index for index, info in enumerate(_info(probe).info)}
    missing = [level for level in levels if 2**level not in index_of_stride]
    if missing:
        has = [stride.bit_length() - 1 for stride in index_of_stride]
        raise UsageError(f"model.backbone.levels: {name} has no level {missing}; it has {has}.")
    return [index_of_stride[2**level] for level in levels]


def _first_stages(features: nn.Module, name: str, stages: int) -> list[nn.Module]:
    """All modules up to the one that ends the n-th stage, in timm's order, which is the order of use."""
    modules = dict(features.named_modules())
    last = None
    for info in _info(features).info:
        ends = next((n for n in (info["module"], info["module"].replace(".", "_", 1)) if n in modules), None)
        if stages > 0 and ends is not None and info["reduction"] == 2 ** (stages + 1):
            last = ends
    if last is None:
        most = max(_info(features).reduction()).bit_length() - 2
        raise UsageError(f"model.backbone.freeze_stages={stages}: with {name} it must be 0 to {most}.")
    first: list[nn.Module] = []
    reached = False
    for key, module in modules.items():
        inside = key == last or key.startswith(f"{last}.")
        if reached and not inside:
            break
        reached = reached or inside
        if key:  # not the whole network itself
            first.append(module)
    return first
