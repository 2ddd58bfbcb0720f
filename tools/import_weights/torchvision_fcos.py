"""torchvision's fcos_resnet50_fpn, published with 39.2 AP on COCO val2017.

It differs from `model=fcos_r50` in four conventions, which are options of the head: biases in the towers,
relu distances, points at the corners of their cells, and sqrt(class x centerness) as the score. Its class
outputs are indexed by COCO's category ids, 0 to 90, of which 80 are categories.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torchvision.models.detection import FCOS_ResNet50_FPN_Weights

from detector.backbone.pretrained import read_state_dict
from errors import UsageError
from tools.import_weights.converted import COCO, NAMES, Converted

LEVELS = 5
WEIGHTS = FCOS_ResNet50_FPN_Weights.COCO_V1
WORDS = (
    "data=coco", "data.root=coco", "model=fcos_r50_torchvision", "schedule=1x", "assigner=fcos",
    "eval.score_threshold=0.2", "eval.metric=nms", "name=torchvision-fcos_resnet50_fpn",
)  # fmt: skip
PREFIXES = {
    "backbone.body.": "backbone.features.",
    "backbone.fpn.extra_blocks.p6.": "neck.extra.0.",
    "backbone.fpn.extra_blocks.p7.": "neck.extra.1.",
    "backbone.fpn.": "neck.pyramid.",
    "head.classification_head.conv.": "head.class_tower.",
    "head.classification_head.cls_logits.": "head.class_out.",
    "head.regression_head.conv.": "head.box_tower.",
    "head.regression_head.bbox_reg.": "head.box_out.",
    "head.regression_head.bbox_ctrness.": "head.quality_out.",
}


def convert(file: Path | None) -> Converted:
    """The weights of a state dict file of fcos_resnet50_fpn, or torchvision's own where there is none.

    Raises:
        UsageError: if the file is no state dict, the download fails, or there are not 91 class outputs.
    """
    if file is not None:
        return renamed(read_state_dict(file))
    try:
        return renamed(WEIGHTS.get_state_dict(progress=True, check_hash=True))
    except OSError as error:
        raise UsageError(
            f"torchvision could not download {WEIGHTS.url} ({error}): fetch it elsewhere and give file=FILE"
        ) from error


def renamed(state: dict[str, Tensor]) -> Converted:
    """A state dict of torchvision under our names.

    Raises:
        UsageError: if it does not have 91 class outputs.
    """
    weights = {}
    for key, value in state.items():
        prefix = next((prefix for prefix in PREFIXES if key.startswith(prefix)), "")
        weights[PREFIXES.get(prefix, "") + key.removeprefix(prefix)] = value
    weights["head.scale"] = torch.ones(LEVELS)  # torchvision has none
    outputs = weights.get("head.class_out.bias", torch.empty(0))
    if len(outputs) != len(NAMES):
        raise UsageError(
            f"fcos_resnet50_fpn trained on COCO has {len(NAMES)} class outputs, this file has {len(outputs)}"
        )
    for key in ("head.class_out.weight", "head.class_out.bias"):
        weights[key] = weights[key][list(COCO)]
    return Converted(WORDS, COCO, weights)
