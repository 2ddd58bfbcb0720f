"""PaddleDetection's PicoDet of 2022 (`picodet_{s,m,l}_{320,416}_coco_lcnet.pdparams`), 29.1 to 39.4 AP.

`model=picodet_{s,m,l}` is the same network; only names differ. The class order is that of COCO's categories.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from detector.backbone.lcnet import timm_name
from detector.backbone.paddle_file import read_arrays
from errors import UsageError
from tools.import_weights.converted import COCO, Converted

URL = "https://paddledet.bj.bcebos.com/models"
# A depthwise separable convolution is (depthwise, pointwise), each of them (convolution, norm).
NAMES = (
    (r"^neck\.conv_t\.convs\.(\d)\.conv\.", r"neck.reduce.\1.0."),
    (r"^neck\.conv_t\.convs\.(\d)\.bn\.", r"neck.reduce.\1.1."),
    (r"^neck\.top_down_blocks\.", "neck.top_down."),
    (r"^neck\.bottom_up_blocks\.", "neck.bottom_up."),
    (r"^neck\.downsamples\.", "neck.downsample."),
    (r"^neck\.first_top_conv\.", "neck.extra_before."),
    (r"^neck\.second_top_conv\.", "neck.extra_after."),
    (r"\.(dw_conv\.conv|dwconv)\.", ".0.0."),
    (r"\.(dw_conv\.bn|bn1)\.", ".0.1."),
    (r"\.(pw_conv\.conv|pwconv)\.", ".1.0."),
    (r"\.(pw_conv\.bn|bn2)\.", ".1.1."),
    (r"^head\.conv_feat\.cls_conv_dw(\d)\.(\d)\.conv\.", r"head.towers.\1.\2.0.0."),
    (r"^head\.conv_feat\.cls_conv_dw(\d)\.(\d)\.norm\.", r"head.towers.\1.\2.0.1."),
    (r"^head\.conv_feat\.cls_conv_pw(\d)\.(\d)\.conv\.", r"head.towers.\1.\2.1.0."),
    (r"^head\.conv_feat\.cls_conv_pw(\d)\.(\d)\.norm\.", r"head.towers.\1.\2.1.1."),
    (r"^head\.conv_feat\.se\.(\d)\.fc\.", r"head.squeezes.\1.weigh."),
    (r"^head\.conv_feat\.se\.(\d)\.conv\.conv\.", r"head.squeezes.\1.mix.0."),
    (r"^head\.conv_feat\.se\.(\d)\.conv\.norm\.", r"head.squeezes.\1.mix.1."),
    (r"^head\.head_cls(\d)\.", r"head.class_outs.\1."),
    (r"^head\.head_reg(\d)\.", r"head.box_outs.\1."),
    (r"^head\.cls_align\.", "head.quality_outs."),
    (r"\._mean$", ".running_mean"),
    (r"\._variance$", ".running_var"),
)
# A second name of the output convolutions, the values of a distance, and scales of levels that nothing reads.
SKIPPED = ("head.head_cls_list.", "head.head_reg_list.", "head.distribution_project.", "head.p")


def convert(file: Path | None, size: str = "s", side: int = 320) -> Converted:
    """The weights of a .pdparams file as those of `model=picodet_<size>`.

    Raises:
        UsageError: without a file, or if it holds anything but arrays; nothing of it is executed.
    """
    name = f"picodet_{size}_{side}_coco_lcnet.pdparams"
    if file is None:
        raise UsageError(f"file=FILE is needed: {URL}/{name}, downloaded")
    words = (f"experiment=coco_picodet_{size}_{side}", "data.root=coco", f"name=paddle-picodet_{size}_{side}")
    return Converted(words, COCO, own_weights(read_arrays(file)))


def own_weights(arrays: dict[str, NDArray[Any]]) -> dict[str, torch.Tensor]:
    """PicoDet's arrays under the names of a detector of this project."""
    weights = {}
    for name, array in arrays.items():
        if name.startswith(SKIPPED):
            continue
        if name.startswith("backbone."):
            name = "backbone.features." + timm_name(name.removeprefix("backbone."))
        else:
            for pattern, replacement in NAMES:
                name = re.sub(pattern, replacement, name)
        weights[name] = torch.from_numpy(np.ascontiguousarray(array))
    return weights
