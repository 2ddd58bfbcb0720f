"""The optimizer, the learning rate, and the progress of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from errors import UsageError


def progress(epoch: int, epochs: int) -> float:
    """How much of training is done: 0 in the first epoch, 1 in the last; 0 if there is but one."""
    return epoch / (epochs - 1) if epochs > 1 else 0.0


def build_optimizer(model: nn.Module, schedule: Mapping[str, Any], fused: bool = False) -> Optimizer:
    """SGD with momentum or AdamW; norms and biases are not decayed, frozen parameters are left out.

    Args:
        fused: one kernel for the whole step, also on a GPU.
    """
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            (decayed if parameter.ndim > 1 else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": schedule["weight_decay"]},
        {"params": plain, "weight_decay": 0.0},
    ]
    # On a CPU torch's default is a loop over the tensors. None leaves it its default on a GPU, one kernel for
    # many tensors; False would switch that off, too.
    kernels = fused or all(parameter.device.type == "cpu" for parameter in decayed + plain) or None
    if schedule["optimizer"] == "sgd":
        return SGD(groups, lr=schedule["lr"], momentum=schedule["momentum"], fused=kernels)
    if schedule["optimizer"] == "adamw":
        return AdamW(groups, lr=schedule["lr"], fused=kernels)
    raise UsageError(f'schedule.optimizer must be "sgd" or "adamw", got "{schedule["optimizer"]}"')


def learning_rate_factor(schedule: Mapping[str, Any], steps_per_epoch: int) -> Callable[[int], float]:
    """The factor on the learning rate at each step: linear warm-up, then a cosine to zero or steps of 0.1."""
    total = schedule["epochs"] * steps_per_epoch
    cosine = (schedule["decay_epochs"] or schedule["epochs"]) * steps_per_epoch
    warmup = min(schedule["warmup_steps"], total // 2)
    milestones = [epoch * steps_per_epoch for epoch in schedule["milestones"]]
    if schedule["decay"] not in ("cosine", "step"):
        raise UsageError(f'schedule.decay must be "cosine" or "step", got "{schedule["decay"]}"')

    def factor(step: int) -> float:
        start = 0.001 + 0.999 * step / warmup if step < warmup else 1.0
        if schedule["decay"] == "cosine":
            done = max(0, step - warmup) / max(1, cosine - warmup)
            return start * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return start * 0.1 ** sum(step >= milestone for milestone in milestones)

    return factor
