"""3x3 convolutions on a CPU in float32 by Winograd's F(4x4, 3x3): arXiv 1509.09308, sections 4 and 4.3.

A tile of 4x4 outputs takes 36 products for each pair of channels, where the definition takes 144. The rest
are products with small constant matrices. cuDNN has this convolution for GPUs; oneDNN, which torch calls on a
CPU, has none. Outputs differ from the exact ones by some 1e-5 of the largest, those of oneDNN by 2e-6.

Shape legend: B images, H and W rows and columns of a map, N input and O output channels, V and U rows and
columns of tiles, S tiles of all images (B x V x U). A number is that many values: 36 of an input tile of 6x6,
16 of an output tile of 4x4, 9 of a kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

# With fewer channels the constant matrices, with fewer tiles the kernel's transform take what products gain
# (benchmarks.training.winograd).
LEAST_CHANNELS, LEAST_TILES = 256, 64
TILES_AT_ONCE = 256

_INPUT_66 = torch.tensor(
    [
        [4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
        [0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
        [0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
        [0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
        [0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
        [0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
    ]
)
_KERNEL_63 = torch.tensor(
    [
        [1 / 4, 0.0, 0.0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0.0, 0.0, 1.0],
    ]
)
_OUTPUT_46 = torch.tensor(
    [
        [1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        [0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
        [0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
        [0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
    ]
)
# Rows and columns of a tile at once.
_INPUT = torch.kron(_INPUT_66, _INPUT_66)
_KERNEL = torch.kron(_KERNEL_63, _KERNEL_63)
_OUTPUT = torch.kron(_OUTPUT_46, _OUTPUT_46)


class WinogradConv2d(nn.Conv2d):
    """A 3x3 convolution of stride 1 and padding 1, by the algorithm that is faster for each map.

    Attributes:
        fixed: the weights will not change any more: their transform, four times their size, is kept.
    """

    fixed = False
    _kernel_36ON: Tensor | None = None

    def forward(self, map_BNHW: Tensor) -> Tensor:
        """(B, O, H, W), channels last where Winograd's algorithm was used."""
        if not _suits(map_BNHW, self.weight):
            return super().forward(map_BNHW)
        if not self.fixed:
            result: Tensor = _Convolution.apply(map_BNHW, self.weight, self.bias)
            return result
        if self._kernel_36ON is None:
            self._kernel_36ON = _transformed(self.weight.detach())
        return _convolve(map_BNHW, self._kernel_36ON.transpose(1, 2), self.bias)


def use_winograd(network: nn.Module) -> None:
    """Makes the convolutions of a network that can be computed so `WinogradConv2d`, in place."""
    for module in network.modules():
        # By exact type: a subclass may do more, standardise weights for example.
        if type(module) is nn.Conv2d and _is_plain(module):
            module.__class__ = WinogradConv2d


def _is_plain(module: nn.Conv2d) -> bool:
    shape = (module.kernel_size, module.stride, module.padding, module.dilation)
    wide = min(module.in_channels, module.out_channels) >= LEAST_CHANNELS
    return (
        shape == ((3, 3), (1, 1), (1, 1), (1, 1))
        and module.groups == 1
        and module.padding_mode == "zeros"
        and wide
    )


def _suits(map_BNHW: Tensor, weight: Tensor) -> bool:
    """Whether Winograd's algorithm may be used here, and is faster."""
    # A compiled or exported graph shall hold a convolution.
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or map_BNHW.device.type != "cpu":
        return False
    # In bfloat16 oneDNN is faster.
    if torch.is_autocast_enabled("cpu") or {map_BNHW.dtype, weight.dtype} != {torch.float32}:
        return False
    return _tiles(map_BNHW) >= LEAST_TILES


class _Convolution(torch.autograd.Function):
    """The convolution and its gradients, all by Winograd's algorithm."""

    @staticmethod
    def forward(ctx: Any, map_BNHW: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(map_BNHW, weight)
        return _convolve(map_BNHW, _transformed(weight).transpose(1, 2), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (gradient_BOHW,) = gradients
        map_BNHW, weight = ctx.saved_tensors
        for_map = for_weight = for_bias = None
        if ctx.needs_input_grad[0]:  # the convolution with the kernel turned by half a turn
            for_map = _convolve(gradient_BOHW, _transformed(weight, turned=True), None)
        if ctx.needs_input_grad[1]:
            # The transposed transforms, from the last to the first.
            kernel_36ON = weight.new_zeros(36, *weight.shape[:2])
            few = _at_once(map_BNHW)
            for own_BOHW, own_BNHW in zip(gradient_BOHW.split(few), map_BNHW.split(few), strict=True):
                tiles_36SO = _product(_OUTPUT.t(), _output_tiles(own_BOHW))
                kernel_36ON.baddbmm_(tiles_36SO.transpose(1, 2), _input_tiles(own_BNHW))
            kernel_9ON = _product(_KERNEL.t(), kernel_36ON)
            for_weight = kernel_9ON.unflatten(0, (3, 3)).permute(2, 3, 0, 1)
            for_weight = for_weight.contiguous(memory_format=torch.channels_last)
        if ctx.needs_input_grad[2]:
            for_bias = gradient_BOHW.sum((0, 2, 3))
        return for_map, for_weight, for_bias


def _convolve(map_BNHW: Tensor, kernel_36NO: Tensor, bias_O: Tensor | None) -> Tensor:
    images, _, height, width = map_BNHW.shape
    tiles_16SO = _product(_OUTPUT, torch.bmm(_input_tiles(map_BNHW), kernel_36NO))
    tiles_44BVUO = tiles_16SO.view(4, 4, images, -(-height // 4), -(-width // 4), -1)
    map_BHWO = tiles_44BVUO.permute(2, 3, 0, 4, 1, 5).flatten(3, 4).flatten(1, 2)
    if bias_O is not None:
        map_BHWO += bias_O
    return map_BHWO[:, :height, :width].contiguous().permute(0, 3, 1, 2)


def _at_once(map_BNHW: Tensor) -> int:
    """How many images the gradient of the weights takes at once: their tiles take much memory."""
    return max(1, TILES_AT_ONCE // _tiles(map_BNHW[:1]))


def _tiles(map_BNHW: Tensor) -> int:
    images, _, height, width = map_BNHW.shape
    return images * -(-height // 4) * -(-width // 4)


def _transformed(weight_ON33: Tensor, turned: bool = False) -> Tensor:
    """(36, O, N), of the kernel or of the one turned by half a turn."""
    kernel_9ON = weight_ON33.permute(2, 3, 0, 1).flatten(0, 1)
    return _product(_KERNEL.flip(1) if turned else _KERNEL, kernel_9ON)


def _input_tiles(map_BNHW: Tensor) -> Tensor:
    """The transformed tiles of 6x6, which overlap by two rows and columns, (36, S, N)."""
    images, channels, height, width = map_BNHW.shape
    rows, columns = -(-height // 4), -(-width // 4)
    around = (0, 0, 1, 4 * columns + 1 - width, 1, 4 * rows + 1 - height)
    map_BHWN = pad(map_BNHW.permute(0, 2, 3, 1), around)
    image, row, column, _ = map_BHWN.stride()
    tiles_66BVUN = map_BHWN.as_strided(
        (6, 6, images, rows, columns, channels), (row, column, image, 4 * row, 4 * column, 1)
    )
    return _product(_INPUT, tiles_66BVUN.flatten(0, 1).flatten(1, 3))


def _output_tiles(map_BOHW: Tensor) -> Tensor:
    """The tiles of 4x4, (16, S, O)."""
    height, width = map_BOHW.shape[2:]
    map_BHWO = pad(map_BOHW.permute(0, 2, 3, 1), (0, 0, 0, -width % 4, 0, -height % 4))
    tiles_BV4U4O = map_BHWO.unflatten(1, (-1, 4)).unflatten(3, (-1, 4))
    return tiles_BV4U4O.permute(2, 4, 0, 1, 3, 5).flatten(0, 1).flatten(1, 3)


def _product(matrix: Tensor, values: Tensor) -> Tensor:
    """A constant matrix times the first dimension."""
    return (matrix @ values.flatten(1)).view(-1, *values.shape[1:])
