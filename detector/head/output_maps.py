"""What all heads share: output convolutions in float32, the order of points, and GroupNorm for any width.

Shape legend: B images, H and W rows and columns of a map, N channels.
"""

from __future__ import annotations

from torch import Tensor, autocast, is_autocast_enabled, nn
from torch.amp import is_autocast_available

PRIOR = 0.01  # class probability of an untrained head (RetinaNet, arXiv 1708.02002, section 4.1)


def in_float32(output: nn.Module, feature_BNHW: Tensor) -> Tensor:
    """The float32 output of a convolution, or of a Sequential that ends in one.

    Under autocast the last convolution alone leaves bfloat16, whose 8 bits would round a side by up to 0.8%.
    """
    if isinstance(output, nn.Sequential):
        *before, output = output
        for layer in before:
            feature_BNHW = layer(feature_BNHW)
    device = feature_BNHW.device.type
    # Not entered without need: an exported graph would contain the context. "meta" has no autocast.
    if is_autocast_available(device) and is_autocast_enabled(device):
        with autocast(device, enabled=False):
            return output(feature_BNHW.float())
    return output(feature_BNHW)


def flat(map_BNHW: Tensor) -> Tensor:
    """(B, N, H, W) to (B, H x W, N), row by row as in PointGrid; free of copies in channels_last memory."""
    return map_BNHW.permute(0, 2, 3, 1).flatten(1, 2)


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm of 32 groups, or of the largest divisor of the width below that."""
    # Two channels a group at least: a lone value would be normalised to 0.
    most = max(1, min(32, channels // 2))
    return nn.GroupNorm(max(n for n in range(1, most + 1) if channels % n == 0), channels)
