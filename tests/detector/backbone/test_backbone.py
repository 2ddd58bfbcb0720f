"""Levels, errors and freezing of the backbone."""

import copy

import pytest
import timm
import torch
from torch import nn

from detector.backbone.backbone import Backbone
from errors import UsageError

IMAGES = torch.randn(2, 3, 64, 96)


@pytest.mark.parametrize(
    ("name", "levels", "channels"),
    [
        ("lcnet_050", (3, 4, 5), (64, 128, 256)),
        ("lcnet_200", (3, 4, 5), (256, 512, 1024)),  # not one of timm's own
        ("resnet18", (2, 5), (64, 512)),
        ("convnext_atto", (3, 4), (80, 160)),  # its first map has stride 4
        ("darknet17", (3, 4), (256, 512)),  # its first map has stride 1
    ],
)
def test_outputs_have_the_stride_and_channels_told(
    name: str, levels: tuple[int, ...], channels: tuple[int, ...]
) -> None:
    backbone = Backbone(name, levels).eval()
    assert backbone.channels == channels
    assert backbone.strides == tuple(2**n for n in levels)
    with torch.no_grad():
        shapes = [tuple(map_.shape) for map_ in backbone(IMAGES)]
    assert shapes == [(2, c, 64 // s, 96 // s) for c, s in zip(channels, backbone.strides, strict=True)]


def test_unknown_name_suggests_close_ones() -> None:
    with pytest.raises(UsageError, match=r"resnet5O is not a timm model.*resnet50"):
        Backbone("resnet5O")


def test_network_without_the_level() -> None:
    with pytest.raises(UsageError, match=r"resnet18 has no level \[6\]; it has \[1, 2, 3, 4, 5\]"):
        Backbone("resnet18", (5, 6))


@pytest.mark.parametrize("levels", [(), (4, 3), (3, 3)])
def test_levels_must_ascend(levels: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="must be ascending"):
        Backbone("resnet18", levels)


def test_channels_last_networks_are_refused() -> None:
    with pytest.raises(UsageError, match="channels last"):
        Backbone("swin_tiny_patch4_window7_224")


def test_hub_failure_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **options: object) -> nn.Module:
        if pretrained:
            raise OSError("no route to host\nand a long story")
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UsageError, match=r"no route to host\).*model\.backbone\.weights=FILE") as error:
        Backbone("resnet10t", weights="imagenet")
    assert "long story" not in str(error.value)


def _names_without_gradient(backbone: Backbone) -> set[str]:
    return {n for n, p in backbone.features.named_parameters() if not p.requires_grad}


def test_freeze_stages_stops_stem_and_first_stages() -> None:
    backbone = Backbone("resnet10t", (3, 4, 5), freeze_stages=2)
    frozen = _names_without_gradient(backbone)
    assert {n.split(".")[0] for n in frozen} == {"conv1", "bn1", "layer1", "layer2"}
    assert all(n in frozen for n in dict(backbone.features.named_parameters()) if n.startswith("layer2"))
    before = copy.deepcopy(backbone.features.state_dict())
    backbone.train()
    sum(map_.sum() for map_ in backbone(IMAGES)).backward()
    after = backbone.features.state_dict()
    moved = {n.split(".")[0] for n in before if "running_mean" in n and not torch.equal(before[n], after[n])}
    assert moved == {"layer3", "layer4"}


@pytest.mark.parametrize(
    ("name", "frozen"),
    [
        ("convnext_atto", {"stem_0", "stem_1", "stages_0"}),
        ("darknet17", {"stem_conv1", "stages_0", "stages_1"}),
    ],
)
def test_freeze_stages_of_renamed_networks(name: str, frozen: set[str]) -> None:
    backbone = Backbone(name, (3, 4), freeze_stages=1)
    got = {n.split(".")[0] for n in _names_without_gradient(backbone)}
    assert got == frozen


@pytest.mark.parametrize("stages", [-1, 5])
def test_freeze_stages_out_of_range(stages: int) -> None:
    with pytest.raises(UsageError, match=rf"freeze_stages={stages}: with resnet10t it must be 0 to 4"):
        Backbone("resnet10t", (3, 4, 5), freeze_stages=stages)


def test_nothing_frozen_by_default() -> None:
    assert not _names_without_gradient(Backbone("resnet10t"))


@pytest.mark.parametrize("freeze_norm", ["statistics", "all"])
def test_freeze_norm_survives_train_and_a_copy(freeze_norm: str) -> None:
    for backbone in (one := Backbone("lcnet_050", freeze_norm=freeze_norm), copy.deepcopy(one)):
        backbone.train()
        norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
        assert norms
        assert not any(m.training for m in norms)
        learned = {p.requires_grad for m in norms for p in m.parameters()}
        assert learned == {freeze_norm == "statistics"}
        assert any(p.requires_grad for p in backbone.parameters())
        assert backbone.training
    batch_norm = {n for n, m in one.features.named_modules() if isinstance(m, nn.BatchNorm2d)}
    frozen = batch_norm if freeze_norm == "all" else set()
    assert {n.rsplit(".", 1)[0] for n in _names_without_gradient(one)} == frozen


def test_fixed_statistics_learn_scale_and_shift_outside_the_frozen_stages() -> None:
    backbone = Backbone("resnet10t", (3, 4, 5), freeze_stages=1, freeze_norm="statistics").train()
    before = copy.deepcopy(backbone.features.state_dict())
    sum(map_.square().sum() for map_ in backbone(IMAGES)).backward()
    after = backbone.features.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)  # statistics did not move
    for name, module in backbone.features.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight.grad is None) == name.startswith(("conv1", "bn1", "layer1")), name


@pytest.mark.parametrize(("old", "new"), [(False, "none"), (True, "all")])
def test_values_of_older_checkpoints(old: bool, new: str) -> None:
    one, other = (
        Backbone("resnet10t", freeze_norm=old).train(),
        Backbone("resnet10t", freeze_norm=new).train(),
    )
    assert _names_without_gradient(one) == _names_without_gradient(other)
    assert [m.training for m in one.modules()] == [m.training for m in other.modules()]


def test_unknown_freeze_norm() -> None:
    with pytest.raises(UsageError, match="freeze_norm=some must be none, statistics, all"):
        Backbone("resnet10t", freeze_norm="some")
