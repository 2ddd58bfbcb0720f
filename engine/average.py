"""The exponential moving average of a network, which is what is evaluated and kept."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


class MovingAverage:
    """The average of weights and buffers over the optimizer steps.

    The decay warms up as (1 + n) / (10 + n) after n updates, so that a short run is not held back by its
    random start. torch's `AveragedModel` copies its counter to the device at each update, for which the host
    waits; here the counter is a number of the host.

    Args:
        model: the network, on its device; its present weights have no share in the average.
        decay: the share that the average keeps at each update, 0 to 1.

    Attributes:
        module: the network with the averaged weights.
        updates: how many there were.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = deepcopy(model)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes in the weights and buffers of `model`; integer buffers are copied."""
        n = self.updates
        share = 1 - min(self.decay, (1 + n) / (10 + n)) if n else 1.0
        averaged, current = _tensors(self.module), _tensors(model)
        floats = [place for place, tensor in enumerate(averaged) if tensor.is_floating_point()]
        others = [place for place, tensor in enumerate(averaged) if not tensor.is_floating_point()]
        torch._foreach_lerp_([averaged[i] for i in floats], [current[i] for i in floats], share)
        if others:
            torch._foreach_copy_([averaged[i] for i in others], [current[i] for i in others])
        self.updates += 1


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
