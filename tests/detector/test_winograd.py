"""Winograd's convolution and its gradients are those of the definition; it is taken where it should be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import conv2d

from detector import winograd
from detector.folded import folded
from detector.winograd import LEAST_CHANNELS, LEAST_TILES, WinogradConv2d, use_winograd
from engine.setup import build_model

SIDE = 4 * int(LEAST_TILES**0.5)


def convolution(channels: int = LEAST_CHANNELS, bias: bool = True) -> WinogradConv2d:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=bias))
    use_winograd(network)
    assert isinstance(network[0], WinogradConv2d)
    return network[0]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the maps that are convolved by Winograd's algorithm."""
    shapes: list[tuple[int, ...]] = []
    convolve = winograd._convolve

    def counted(map_BNHW: Tensor, kernel_36NO: Tensor, bias_O: Tensor | None) -> Tensor:
        shapes.append(tuple(map_BNHW.shape))
        return convolve(map_BNHW, kernel_36NO, bias_O)

    monkeypatch.setattr(winograd, "_convolve", counted)
    return shapes


sizes = st.integers(1, 11)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), sizes, sizes, st.booleans(), st.booleans())
def test_outputs_and_gradients_of_the_definition(
    images: int, channels: int, outputs: int, height: int, width: int, bias: bool, channels_last: bool
) -> None:
    generator = torch.Generator().manual_seed(height * 11 + width)
    shapes = [(images, channels, height, width), (outputs, channels, 3, 3)] + [(outputs,)] * bias
    inputs = [torch.randn(shape, generator=generator) for shape in shapes]
    if channels_last:
        inputs[0] = inputs[0].contiguous(memory_format=torch.channels_last)
    ours = [values.clone(memory_format=torch.preserve_format).requires_grad_() for values in inputs]
    exact = [values.double().requires_grad_() for values in inputs]
    result = winograd._Convolution.apply(*ours, *[None] * (not bias))
    expected = conv2d(*exact, padding=1)
    # Not square, so that rows and columns cannot be exchanged.
    gradient = torch.randn(expected.shape, generator=generator)
    result.backward(gradient)
    expected.backward(gradient.double())
    for found, wanted in (
        (result, expected),
        *zip([v.grad for v in ours], [v.grad for v in exact], strict=True),
    ):
        assert found is not None
        assert wanted is not None
        assert found.shape == wanted.shape
        largest = float(wanted.detach().abs().max().clamp(min=1))
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-4 * largest)


def test_frozen_weights_get_no_gradient() -> None:
    layer = convolution()
    layer.weight.requires_grad_(False)
    map_1NHW = torch.randn(1, LEAST_CHANNELS, SIDE, SIDE, requires_grad=True)
    layer(map_1NHW).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias is not None
    assert layer.bias.grad is not None
    assert map_1NHW.grad is not None


@pytest.mark.parametrize(
    ("images", "side", "taken"), [(1, SIDE, True), (4, SIDE // 2, True), (1, SIDE - 4, False)]
)
def test_small_maps_are_left_to_torch(
    images: int, side: int, taken: bool, calls: list[tuple[int, ...]]
) -> None:
    layer = convolution()
    map_BNHW = torch.randn(images, LEAST_CHANNELS, side, side)
    result = layer(map_BNHW)
    assert bool(calls) == taken
    torch.testing.assert_close(result, conv2d(map_BNHW, layer.weight, layer.bias, 1, 1), rtol=0, atol=1e-4)


def test_other_precisions_are_left_to_torch(calls: list[tuple[int, ...]]) -> None:
    layer = convolution()
    map_1NHW = torch.randn(1, LEAST_CHANNELS, SIDE, SIDE)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(map_1NHW).dtype == torch.bfloat16
    assert layer.double()(map_1NHW.double()).dtype == torch.float64
    assert not calls


def test_an_exported_graph_holds_a_convolution(calls: list[tuple[int, ...]]) -> None:
    program = torch.export.export(convolution().eval(), (torch.randn(1, LEAST_CHANNELS, SIDE, SIDE),))
    assert not calls
    assert any("conv2d" in str(node.target) for node in program.graph.nodes)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(LEAST_CHANNELS - 1, LEAST_CHANNELS, 3, padding=1),
        nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS, 1),
        nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS, 3, stride=2, padding=1),
        nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS, 3),
        nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS, 3, padding=1, groups=2),
        nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS, 3, padding=2, dilation=2),
        type("Special", (nn.Conv2d,), {})(LEAST_CHANNELS, LEAST_CHANNELS, 3, padding=1),
    ],
)
def test_other_convolutions_stay(layer: nn.Conv2d) -> None:
    kind = type(layer)
    use_winograd(layer)
    assert type(layer) is kind


def test_fixed_weights_are_transformed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, transformed = convolution(), winograd._transformed
    count: list[Tensor] = []

    def counted(weight: Tensor) -> Tensor:
        count.append(weight)
        return transformed(weight)

    monkeypatch.setattr(winograd, "_transformed", counted)
    map_1NHW = torch.randn(1, LEAST_CHANNELS, SIDE, SIDE)
    expected = layer(map_1NHW)
    layer(map_1NHW)
    assert len(count) == 2
    layer.fixed = True
    assert all(torch.equal(layer(map_1NHW), expected) for _ in range(3))
    assert len(count) == 3


def test_those_of_a_folded_detector_are_fixed(composed: Any) -> None:
    config = composed("model=fcos_r50", "model.backbone.weights=null", "data=shapes")
    model = build_model(config, 3)
    for network, fixed in ((folded(model), True), (model, False)):
        layers = [module for module in network.modules() if isinstance(module, WinogradConv2d)]
        assert len(layers) >= 8  # the towers
        assert all(layer.fixed == fixed for layer in layers)
