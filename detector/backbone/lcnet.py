"""PP-LCNet x2.0 (arXiv 2109.15099, table 3) under timm's name for it, which timm itself leaves out.

timm registers the widths 0.35 to 1.5 of one generator; this is the same generator at 2.0.
"""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models.mobilenetv3 import MobileNetV3, _gen_lcnet

default_cfgs = generate_default_cfgs({"lcnet_200.untrained": {"first_conv": "conv_stem"}})


@register_model
def lcnet_200(pretrained: bool = False, **options: Any) -> MobileNetV3:
    """LCNet of twice the width; there are no weights of it on timm's hub."""
    return _gen_lcnet("lcnet_200", 2.0, pretrained=pretrained, **options)
