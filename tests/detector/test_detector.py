"""The whole network, and how it is built."""

import copy

import pytest
import torch

from assigners.core.types import PointGrid
from detector.detector import build_detector
from errors import UsageError


def _config(**parts: dict[str, object]) -> dict[str, dict[str, object]]:
    config: dict[str, dict[str, object]] = {
        "backbone": {"name": "lcnet_050", "weights": None, "levels": [3, 4, 5]},
        "neck": {"channels": 16, "extra_levels": 2},
        "head": {"channels": 16, "convs": 1, "quality": "implicit"},
    }
    for part, options in parts.items():
        config[part].update(options)
    return config


def test_outputs_are_on_the_grid_of_the_image() -> None:
    torch.manual_seed(0)
    detector = build_detector(_config(), 5).eval()
    assert detector.strides == (8, 16, 32, 64, 128)
    with torch.no_grad():
        outputs = detector(torch.randint(0, 256, (2, 3, 96, 160), dtype=torch.uint8))
    grid = PointGrid.for_image(96, 160, detector.strides)
    assert torch.equal(outputs.grid.centers_P2, grid.centers_P2)
    assert outputs.grid.shapes == ((12, 20), (6, 10), (3, 5), (2, 3), (1, 2))
    assert outputs.logits_BPC.shape == (2, len(grid), 5)
    assert outputs.distances_BP4.shape == (2, len(grid), 4)
    assert outputs.quality_BP is not None
    assert outputs.quality_BP.shape == (2, len(grid))


@pytest.mark.parametrize(("neck", "strides"), [("csp_pan", (8, 16, 32, 64)), ("fpn", (8, 16, 32))])
@pytest.mark.parametrize("head", ["pico", "fcos"])
def test_any_head_on_any_neck(neck: str, strides: tuple[int, ...], head: str) -> None:
    config = {
        "backbone": {"name": "lcnet_050"},
        "neck": {"kind": neck, "channels": 8},
        "head": {"kind": head, "channels": 12, "convs": 1},
    }
    detector = build_detector(config, 5).eval()
    with torch.no_grad():
        outputs = detector(torch.randint(0, 256, (2, 3, 71, 161), dtype=torch.uint8))
    grid = PointGrid.for_image(71, 161, strides)
    assert outputs.grid.shapes == grid.shapes
    assert outputs.logits_BPC.shape == (2, len(grid), 5)
    assert outputs.distances_BP4.shape == (2, len(grid), 4)
    assert (outputs.distances_BP4 > 0).all()
    if head == "fcos":
        assert outputs.distribution_BP4E is None
    else:
        assert outputs.distribution_BP4E is not None
        assert outputs.distribution_BP4E.shape == (2, len(grid), 4, 8)


def test_uint8_and_float_are_the_same_and_untouched() -> None:
    detector = build_detector(_config(), 2).eval()
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    floats = images.float().contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        from_bytes, from_floats = detector(images), detector(floats)
    assert torch.equal(from_bytes.logits_BPC, from_floats.logits_BPC)
    assert torch.equal(floats, images.float())


def test_images_are_normalised_by_imagenet() -> None:
    detector = build_detector(_config(), 2).eval()
    seen = []
    detector.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    detector(torch.tensor([124.0, 116.0, 104.0]).view(1, 3, 1, 1).expand(1, 3, 64, 64))
    expected = torch.tensor([124 / 255 - 0.485, 116 / 255 - 0.456, 104 / 255 - 0.406]) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(seen[0][0, :, 5, 7], expected, rtol=1e-3, atol=1e-5)


def test_odd_sizes_still_fit_the_grid() -> None:
    detector = build_detector(_config(), 2).eval()
    with torch.no_grad():
        outputs = detector(torch.zeros(1, 3, 71, 97))
    assert outputs.logits_BPC.shape[1] == len(outputs.grid)


def test_a_size_the_network_rounds_otherwise_is_refused() -> None:
    detector = build_detector(_config(backbone={"name": "convnext_atto"}), 2).eval()
    with pytest.raises(ValueError, match="pad the input"):
        detector(torch.zeros(1, 3, 70, 96))


def test_state_dict_round_trip_and_copy() -> None:
    torch.manual_seed(0)
    one, other = build_detector(_config(), 2).eval(), build_detector(_config(), 2).eval()
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        assert not torch.equal(one(images).logits_BPC, other(images).logits_BPC)
        other.load_state_dict(one.state_dict())
        for twin in (other, copy.deepcopy(one)):
            assert torch.equal(one(images).logits_BPC, twin(images).logits_BPC)


def test_defaults_are_filled_in() -> None:
    detector = build_detector({"backbone": {"name": "lcnet_050"}, "neck": {"channels": 8}}, 2)
    assert detector.strides == (8, 16, 32)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"backbone": {"depth": 50}}, "model.backbone has no depth; it has name, weights"),
        ({"backbone": {"name": None}}, "model.backbone.name is missing"),
        ({"neck": {"channels": None}}, "model.neck.channels is missing"),
        ({"neck": {"kind": "bifpn"}}, r"model\.neck\.kind=bifpn must be one of fpn, csp_pan, lc_pan"),
        ({"head": {"kind": "retina"}}, r"model\.head\.kind=retina must be one of fcos, pico"),
        ({"neck": {"kind": "csp_pan"}}, r"model\.neck has no extra_levels; it has channels\."),
        ({"head": {"reg_max": 7}}, r"model\.head has no reg_max; it has channels, convs, quality, score"),
        ({"head": {"kind": "pico", "reg_max": 0}}, "reg_max=0"),
        ({"head": {"quality": "best"}}, "quality=best must be one of none, centerness, implicit"),
    ],
)
def test_errors(parts: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_detector(_config(**parts), 2)
