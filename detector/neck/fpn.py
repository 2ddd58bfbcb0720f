"""Feature pyramid (Lin et al., arXiv 1612.03144, section 3) with FCOS's extra levels P6 and P7."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import relu
from torchvision.ops import FeaturePyramidNetwork

from errors import UsageError


class FeaturePyramid(nn.Module):
    """torchvision's FPN, then `extra_levels` convolutions of stride 2 on top of its last output.

    As in FCOS (arXiv 1904.01355, section 4) P6 comes from P5, not from C5, and P7 from relu(P6).

    Args:
        in_channels, in_strides: of the backbone's maps, finest first.
        channels: of every output.
        extra_levels: 0, 1 or 2.

    Attributes:
        strides: of every output, finest first.

    Raises:
        UsageError: for a number of channels or extra levels out of range.
    """

    def __init__(
        self, in_channels: Sequence[int], in_strides: Sequence[int], channels: int, extra_levels: int = 0
    ) -> None:
        super().__init__()
        if channels < 1:
            raise UsageError(f"model.neck.channels={channels} must be at least 1.")
        if extra_levels not in (0, 1, 2):
            raise UsageError(f"model.neck.extra_levels={extra_levels} must be 0, 1 (P6) or 2 (P6, P7).")
        self.pyramid = FeaturePyramidNetwork(list(in_channels), channels)
        self.extra = nn.ModuleList(nn.Conv2d(channels, channels, 3, 2, 1) for _ in range(extra_levels))
        for conv in self.extra:
            assert isinstance(conv, nn.Conv2d)
            assert conv.bias is not None
            nn.init.kaiming_uniform_(conv.weight, a=1)
            nn.init.zeros_(conv.bias)
        coarsest = in_strides[-1]
        self.strides = (*in_strides, *(coarsest * 2 ** (n + 1) for n in range(extra_levels)))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The backbone's maps to one (B, channels, rows, columns) map per stride."""
        outputs = list(self.pyramid(OrderedDict((str(n), map_) for n, map_ in enumerate(features))).values())
        for n, conv in enumerate(self.extra):
            outputs.append(conv(relu(outputs[-1]) if n else outputs[-1]))
        return outputs
