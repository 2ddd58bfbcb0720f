"""A BatchNorm with nothing to learn, which keeps no feature map for the backward pass.

torch's batch norm keeps its whole input even where scale, shift and statistics are fixed. A product with a
constant needs the constant alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FixedNorm(nn.BatchNorm2d):
    """The same numbers and the same state dict as the BatchNorm2d it is made of, with its tensors.

    Reduced precision keeps torch's kernel, which computes in float32 and returns what it was given; so does
    inference, where nothing is kept and exporters know the operation.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, device="meta")
        for name, parameter in norm.named_parameters(recurse=False):
            setattr(self, name, parameter)
        for name, buffer in norm.named_buffers(recurse=False):
            setattr(self, name, buffer)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Feature maps to feature maps of the same shape, normalised by the running statistics."""
        assert self.running_mean is not None
        assert self.running_var is not None
        if not x_BCHW.requires_grad or x_BCHW.dtype != torch.float32:
            return super().forward(x_BCHW)
        scale_C = self.weight * (self.running_var + self.eps).rsqrt()
        shift_C = self.bias - self.running_mean * scale_C
        return torch.addcmul(shift_C[:, None, None], x_BCHW, scale_C[:, None, None])
