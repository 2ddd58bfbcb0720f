"""The switches of `speed`: they change time and memory, and results by rounding alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from omegaconf import DictConfig
from timm.layers import convert_sync_batchnorm
from torch import Tensor

from detector.detector import Detector
from engine.setup import build_model
from engine.speed import compile_network, recompute_activations, set_switches
from engine.trainer import train
from errors import UsageError
from tests.helpers.run_files import same

Compose = Callable[..., DictConfig]
IMAGES = torch.randint(256, (2, 3, 64, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture
def model(tiny_run: Compose) -> Detector:
    torch.manual_seed(0)
    return build_model(tiny_run(), 3).train()


def pass_through(model: Detector) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Logits, gradients and buffers of one training pass."""
    torch.manual_seed(1)
    outputs = model(IMAGES)
    (outputs.logits_BPC.square().mean() + outputs.distances_BP4.mean()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return outputs.logits_BPC.detach(), gradients, dict(model.named_buffers())


@pytest.mark.parametrize("change", [recompute_activations, lambda model: compile_network(model, "eager")])
def test_the_pass_is_the_same(model: Detector, change: Callable[[Detector], None]) -> None:
    names = list(model.state_dict())
    plain = pass_through(copy.deepcopy(model))
    change(model)
    assert list(model.state_dict()) == names
    assert same(pass_through(model), plain)
    with torch.inference_mode():
        model.eval()(IMAGES)


def test_recomputing_keeps_fewer_activations(model: Detector) -> None:
    def kept(network: Detector) -> int:
        total = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            network(IMAGES)
        return total

    plain = kept(copy.deepcopy(model))
    recompute_activations(model)
    assert kept(model) < 0.6 * plain


@pytest.fixture
def switches() -> Iterator[None]:
    """Puts torch's switches back."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
    torch.backends.cudnn.benchmark = False


def test_switches_are_set(switches: None) -> None:
    for tf32, expected in (("none", (False, False)), ("convolutions", (True, False)), ("all", (True, True))):
        set_switches({"tf32": tf32, "cudnn_benchmark": tf32 == "all"})
        assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == expected
        assert torch.backends.cudnn.benchmark is (tf32 == "all")


def test_a_run_with_the_switches_that_a_cpu_has(tiny_run: Compose, switches: None) -> None:
    train(tiny_run("speed.fused=true", "speed.recompute=true", "speed.tf32=all", "schedule.epochs=1"))


def test_synchronised_norms_keep_names_and_values(model: Detector) -> None:
    converted = convert_sync_batchnorm(copy.deepcopy(model))
    assert any(isinstance(part, torch.nn.SyncBatchNorm) for part in converted.modules())
    assert same(converted.state_dict(), model.state_dict())
    with torch.inference_mode():
        assert torch.equal(converted.eval()(IMAGES).logits_BPC, model.eval()(IMAGES).logits_BPC)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("speed.sync_norm=true",), r"speed\.sync_norm=true needs GPUs, this is cpu"),
        (("speed.static_graph=true", "schedule.accumulate=2"), r"speed\.static_graph=true does not go with"),
        (("speed.compile=true", "speed.recompute=true"), r"speed\.compile=true does not go with"),
        (("speed.tf32=some",), r"speed\.tf32=some must be one of none, convolutions, all"),
    ],
)
def test_what_does_not_go_is_named(tiny_run: Compose, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train(tiny_run(*words))
