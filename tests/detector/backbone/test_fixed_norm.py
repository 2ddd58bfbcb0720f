"""The fixed norm gives torch's numbers, gradient and state dict, and keeps no feature map."""

import torch
from torch import nn

from detector.backbone.fixed_norm import FixedNorm


def test_numbers_and_gradient_of_torch() -> None:
    norm = nn.BatchNorm2d(5).eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        tensor.data = torch.rand(5) + 0.5
        tensor.requires_grad_(False)
    fixed = FixedNorm(norm).eval()
    assert fixed.state_dict().keys() == norm.state_dict().keys()
    kept: list[torch.Tensor] = []
    results = []
    x_BCHW = torch.randn(2, 5, 6, 7)
    for module in (norm, fixed):
        input_BCHW = x_BCHW.clone().requires_grad_()
        kept.clear()

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output_BCHW = module(input_BCHW)
        output_BCHW.square().sum().backward()
        results.append((output_BCHW.detach(), input_BCHW.grad, max(t.numel() for t in kept)))
    torch.testing.assert_close(results[0][:2], results[1][:2])
    assert results[0][2] == x_BCHW.numel()
    assert results[1][2] == 5
