"""PP-LCNet (arXiv 2109.15099): the width 2.0, which timm leaves out, and the names of Paddle's weights.

timm registers the widths 0.35 to 1.5 of one generator; `lcnet_200` is the same generator at 2.0. Its hub has
weights up to 1.0; PaddleClas publishes all widths as .pdparams files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models import generate_default_cfgs, register_model
from timm.models.mobilenetv3 import MobileNetV3, _gen_lcnet

default_cfgs = generate_default_cfgs({"lcnet_200.untrained": {"first_conv": "conv_stem"}})


@register_model
def lcnet_200(pretrained: bool = False, **options: Any) -> MobileNetV3:
    """LCNet of twice the width; there are no weights of it on timm's hub."""
    return _gen_lcnet("lcnet_200", 2.0, pretrained=pretrained, **options)


# The names of PaddleClas's and PaddleDetection's LCNet, and those of timm's, applied in this order.
NAMES = (
    (r"^conv1\.conv\.", "conv_stem."),
    (r"^conv1\.bn\.", "bn1."),
    (r"^blocks([234])\.", lambda match: f"blocks.{int(match[1]) - 2}."),
    (r"^blocks5\.([01])\.", r"blocks.3.\1."),  # timm cuts this stage after its second block
    (r"^blocks5\.([2-5])\.", lambda match: f"blocks.4.{int(match[1]) - 2}."),
    (r"^blocks6\.", "blocks.5."),
    (r"\.dw_conv\.conv\.", ".conv_dw."),
    (r"\.dw_conv\.bn\.", ".bn1."),
    (r"\.pw_conv\.conv\.", ".conv_pw."),
    (r"\.pw_conv\.bn\.", ".bn2."),
    (r"\.se\.conv1\.", ".se.conv_reduce."),
    (r"\.se\.conv2\.", ".se.conv_expand."),
    (r"\._mean$", ".running_mean"),
    (r"\._variance$", ".running_var"),
)


def timm_name(name: str) -> str:
    """timm's name of a parameter or buffer of Paddle's LCNet; other names stay as they are."""
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def timm_weights(arrays: Mapping[str, NDArray[Any]]) -> dict[str, torch.Tensor]:
    """The arrays of a Paddle LCNet under timm's names. Convolutions have the same layout in both."""
    return {timm_name(name): torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
