"""Weight files: what fits is loaded to the last bit, what does not is named."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from detector.backbone.backbone import Backbone
from detector.backbone.lcnet import timm_name
from detector.backbone.pretrained import read_state_dict
from errors import UsageError


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(1)
    return timm.create_model("resnet10t", pretrained=False, num_classes=3).eval()


# convnext_atto has its stages in a Sequential, which timm's feature extractor renames.
@pytest.mark.parametrize("name", ["lcnet_050", "convnext_atto"])
@pytest.mark.parametrize("form", ["plain", "wrapped", "safetensors"])
def test_file_of_the_full_classifier_gives_its_feature_maps(tmp_path: Path, name: str, form: str) -> None:
    torch.manual_seed(0)
    full = timm.create_model(name, pretrained=False).eval()
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        save_file(full.state_dict(), path)
    else:
        torch.save(
            {"state_dict": full.state_dict(), "epoch": 3} if form == "wrapped" else full.state_dict(), path
        )
    backbone = Backbone(name, (4, 5), weights=str(path)).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = full.forward_intermediates(images, intermediates_only=True)[-2:]
        for got, want in zip(backbone(images), expected, strict=True):
            torch.testing.assert_close(got, want)


def test_without_the_file_the_weights_are_others(tmp_path: Path, resnet: torch.nn.Module) -> None:
    torch.save(resnet.state_dict(), tmp_path / "w.pth")
    loaded = Backbone("resnet10t", (3,), weights=str(tmp_path / "w.pth")).features.state_dict()
    key = "layer1.0.conv1.weight"
    assert torch.equal(loaded[key], resnet.state_dict()[key])
    assert not torch.equal(Backbone("resnet10t", (3,)).features.state_dict()[key], loaded[key])


def test_misfits_are_listed_and_counted(tmp_path: Path, resnet: torch.nn.Module) -> None:
    state = resnet.state_dict()
    del state["layer1.0.conv1.weight"]
    state["layer2.0.conv1.weight"] = torch.zeros(2, 2, 3, 3)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UsageError) as error:
        Backbone("resnet10t", (3, 4, 5), weights=str(tmp_path / "w.pth"))
    message = str(error.value)
    assert "layer1.0.conv1.weight is missing" in message
    assert "layer2.0.conv1.weight is (2, 2, 3, 3) but must be (128, 64, 3, 3)" in message
    assert " 2 of " in message


def test_weights_of_another_network_do_not_fit(tmp_path: Path, resnet: torch.nn.Module) -> None:
    torch.save(resnet.state_dict(), tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"does not fit lcnet_050.*and \d+ more"):
        Backbone("lcnet_050", (3, 4, 5), weights=str(tmp_path / "w.pth"))


def test_missing_batch_counts_are_forgiven(tmp_path: Path, resnet: torch.nn.Module) -> None:
    state = {k: v for k, v in resnet.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "w.pth")
    Backbone("resnet10t", (3,), weights=str(tmp_path / "w.pth"))


def test_file_missing() -> None:
    with pytest.raises(UsageError, match=r"nowhere\.pth: no such file"):
        Backbone("resnet10t", weights="nowhere.pth")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_file_unreadable(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("this is no checkpoint")
    with pytest.raises(UsageError, match="cannot be read"):
        read_state_dict(tmp_path / name)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.zeros(2)])
def test_file_without_a_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UsageError, match="no state dict"):
        read_state_dict(tmp_path / "w.pth")


def test_paddles_names_are_those_of_timm(tmp_path: Path) -> None:
    """A file with the names of PaddleClas's PP-LCNet: the blocks of each stage, counted by its own config."""
    timms = timm.create_model("lcnet_075", pretrained=False).state_dict()
    named = {"conv1": "conv_stem"}
    for stage, blocks in ((2, 1), (3, 2), (4, 2), (5, 6), (6, 2)):
        for block in range(blocks):
            for part in ("dw_conv", "pw_conv", *(("se",) if stage == 6 else ())):
                named[f"blocks{stage}.{block}.{part}"] = part
    found = set()
    for name, part in named.items():
        for layer in ("conv1", "conv2") if part == "se" else ("conv", "bn"):
            leaves = ("weight", "bias") if part == "se" else ("weight",)
            for leaf in ("weight", "bias", "_mean", "_variance") if layer == "bn" else leaves:
                found.add(timm_name(f"{name}.{layer}.{leaf}"))
    other = ("conv_head", "classifier")
    assert found == {n for n in timms if not n.startswith(other) and not n.endswith("num_batches_tracked")}
