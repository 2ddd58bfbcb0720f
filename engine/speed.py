"""The `speed` group: switches that trade memory, start time or rounding for time, each off by default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from detector.detector import Detector


def set_switches(speed: Mapping[str, Any]) -> None:
    """Sets what torch keeps for the whole process: TF32 and cuDNN's search, both of which only GPUs know."""
    torch.backends.cudnn.benchmark = speed["cudnn_benchmark"]
    torch.backends.cudnn.allow_tf32 = speed["tf32"] != "none"
    torch.backends.cuda.matmul.allow_tf32 = speed["tf32"] == "all"


def compile_network(model: Detector, backend: str = "inductor") -> None:
    """Compiles backbone, neck and the towers of the heads in place, at their first call.

    The points, the predictions and the losses stay outside: their sizes follow from the images, so that they
    would be compiled anew all the time. Names of parameters stay as they are.
    """
    towers = [part for name, part in model.named_modules() if name.endswith("_tower")]
    for part in (model.backbone, model.neck, *towers):
        part.compile(backend=backend)


def recompute_activations(model: Detector) -> None:
    """Makes the stages of the backbone keep their inputs only; the backward pass computes the rest again.

    To be called once the moving average is made: its copy must not call the stages of this model.
    """
    for stage in _stages(model.backbone.features):
        stage.forward = partial(_recomputed, stage, stage.forward)


def _stages(network: nn.Module) -> Iterator[nn.Module]:
    """The parts of several convolutions each that run one after the other."""
    for part in network.children():
        if isinstance(part, nn.ModuleList) or (isinstance(part, nn.Sequential) and len(part) > 4):
            yield from _stages(part)
        elif sum(isinstance(layer, nn.Conv2d) for layer in part.modules()) > 1:
            yield part


def _recomputed(stage: nn.Module, forward: Any, *inputs: torch.Tensor) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs)
    contexts = partial(_contexts, stage)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)


def _contexts(stage: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _statistics_kept(stage)


@contextmanager
def _statistics_kept(stage: nn.Module) -> Iterator[None]:
    """The second pass sees the same batch: it counts into copies, so that norms do not count it twice."""
    norms = [norm for norm in stage.modules() if isinstance(norm, _BatchNorm) and norm.training]
    kept = [dict(norm.named_buffers(recurse=False)) for norm in norms]
    for norm, buffers in zip(norms, kept, strict=True):
        for name, buffer in buffers.items():
            setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
