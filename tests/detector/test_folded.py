"""Folding changes no output, and leaves what cannot be folded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detector.detector import Detector
from detector.folded import folded
from detector.outputs import Outputs
from engine.setup import build_model

# One of each kind of backbone, neck and head.
MODELS = ("fcos_mobilenet", "fcos_r50", "picodet_csp_s", "picodet_s", "tood_r50")


def with_statistics(model: nn.Module) -> nn.Module:
    """Every BatchNorm with statistics, scale and shift that change its input."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias):
                tensor.data.normal_(0, 0.1)
            for tensor in (module.running_var, module.weight):
                tensor.data.uniform_(0.5, 1.5)
    return model


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


@pytest.mark.parametrize("name", MODELS)
def test_every_model_gives_the_same_outputs_without_batchnorm(name: str, composed: Any) -> None:
    config = composed(f"model={name}", "model.backbone.weights=null", "data=shapes")
    model = with_statistics(build_model(config, 3).train())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fast = folded(model)
    assert model.training
    assert norms(model) > 0
    assert norms(fast) == 0
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in fast.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    images_B3HW = torch.randint(256, (2, 3, 128, 128), dtype=torch.uint8)
    with torch.no_grad():
        expected, outputs = model.eval()(images_B3HW), fast(images_B3HW)
    torch.testing.assert_close(outputs.logits_BPC, expected.logits_BPC, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(outputs.distances_BP4, expected.distances_BP4, rtol=1e-3, atol=1e-2)


def test_every_predictor_is_folded(composed: Any) -> None:
    config = composed("model=picodet_s", "model.backbone.weights=null", "assigner=dual_o2f", "data=shapes")
    model = with_statistics(build_model(config, 3).eval())
    fast = folded(model)
    assert norms(fast) == 0
    images_B3HW = torch.randint(256, (1, 3, 128, 128), dtype=torch.uint8)
    with torch.no_grad():
        expected, outputs = model.outputs(images_B3HW), fast.outputs(images_B3HW)
    assert len(expected) == 2
    for name, own in expected.items():
        torch.testing.assert_close(outputs[name].logits_BPC, own.logits_BPC, rtol=1e-4, atol=1e-4)


class Standardised(nn.Conv2d):
    """Computes with other weights than it holds."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self._conv_forward(x_BCHW, self.weight - self.weight.mean(), self.bias)


class Net(nn.Module):
    """Something that is run as a detector is."""

    strides = (4, 8)

    def __init__(
        self, run: Callable[[Net, Tensor], Tensor], convolution: type[nn.Conv2d] = nn.Conv2d
    ) -> None:
        super().__init__()
        self.convolution = convolution(3, 3, 3, padding=1)
        self.one, self.two = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.run = run
        self.register_buffer("mean", torch.zeros(1))

    def outputs(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        return {"head": self.run(self, images_B3HW)}


@pytest.mark.parametrize(
    ("run", "convolution", "left"),
    [
        (lambda net, x: net.one(net.convolution(x)), nn.Conv2d, 1),  # `two` is not used
        (lambda net, x: net.two(net.one(net.convolution(x))), nn.Conv2d, 1),
        (lambda net, x: net.one(net.convolution(x)) + net.two(net.convolution(x)), nn.Conv2d, 2),
        (lambda net, x: net.one(net.one(net.convolution(x))), nn.Conv2d, 2),
        (lambda net, x: (lambda y: y + net.one(y))(net.convolution(x)), nn.Conv2d, 2),
        (lambda net, x: net.one(net.convolution(x).relu_()), nn.Conv2d, 2),
        (lambda net, x: net.one(net.convolution(x) * 2), nn.Conv2d, 2),
        (lambda net, x: net.one(net.convolution(x)), Standardised, 2),
    ],
    ids=["alone", "two in a row", "shared", "norm twice", "skip", "in place", "between", "subclass"],
)
def test_what_cannot_be_folded_stays(
    run: Callable[[Net, Tensor], Tensor], convolution: type[nn.Conv2d], left: int
) -> None:
    net = with_statistics(Net(run, convolution)).eval()
    fast: Any = folded(net)  # type: ignore[arg-type]
    x_BCHW = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(fast.outputs(x_BCHW)["head"], net.outputs(x_BCHW)["head"])  # type: ignore[operator]
    assert norms(fast) == left


def test_a_norm_of_each_batch_stays() -> None:
    net = Net(lambda net, x: net.one(net.convolution(x)), nn.Conv2d).eval()
    net.one = nn.BatchNorm2d(3, track_running_stats=False).eval()
    fast: Any = folded(net)  # type: ignore[arg-type]
    x_BCHW = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(fast.outputs(x_BCHW)["head"], net.outputs(x_BCHW)["head"])  # type: ignore[operator]
    assert norms(fast) == 2


def test_a_folded_detector_is_a_detector(composed: Any) -> None:
    model = build_model(composed("data=shapes"), 3)
    model.peak_window = 3
    fast = folded(model)
    assert isinstance(fast, Detector)
    outputs = fast(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    assert isinstance(outputs, Outputs)
    assert outputs.peak_window == 3


def test_activations_work_in_place_where_nothing_is_trained(composed: Any) -> None:
    model = build_model(composed("model=picodet_s", "model.backbone.weights=null", "data=shapes"), 3)
    for network, inplace in ((model, False), (folded(model), True)):
        found = [module.inplace for module in network.modules() if isinstance(module, nn.Hardswish)]
        assert found == [inplace] * 86
