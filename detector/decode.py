"""From the head's outputs to scores and boxes.

Shape legend: B images, P points of all levels, C classes, K points picked from any of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from assigners.core.types import Predictions
from detector.outputs import Outputs


@dataclass(frozen=True)
class Decoded(Predictions):
    """Predictions, and what the score threshold of inference acts on.

    Attributes:
        quality_BP: None where the threshold acts on the score; else the quality in [0, 1] that is a factor of
            the score and that the threshold leaves out, as FCOS and ATSS leave out their centerness.
        peak_window: of the NMS-free selection, see Outputs.
    """

    quality_BP: Tensor | None = None
    peak_window: int | None = None


def joint_logits(logits_BPC: Tensor, quality_BP: Tensor | None, geometric_mean: bool = False) -> Tensor:
    """The logits of the score: of p q, or of sqrt(p q), with p = sigmoid(class) and q = sigmoid(quality).

    Exact and stable for any logits. Without quality the class logits.

    Returns: (B, P, C), differentiable in both.
    """
    if quality_BP is None:
        return logits_BPC
    quality_BP1 = quality_BP.unsqueeze(-1)
    if geometric_mean:
        # With s = log sqrt(p q) the logit is s - log(1 - e^s). Below 0 even where both round to 1.
        s_BPC = (logsigmoid(logits_BPC) + logsigmoid(quality_BP1)) / 2
        s_BPC = s_BPC.clamp(max=-torch.finfo(s_BPC.dtype).tiny)
        return s_BPC - torch.log(-torch.expm1(s_BPC))
    # p q = 1 / ((1 + e^-c)(1 + e^-q)), so (1 - p q) / (p q) = e^-c (1 + e^-q) + e^-q, and the logit is
    # -log of that: -logaddexp(-c + softplus(-q), -q), where softplus(-q) = -logsigmoid(q).
    return -torch.logaddexp(-logsigmoid(quality_BP1) - logits_BPC, -quality_BP1)


def boxes_from_distances(centers_K2: Tensor, distances_K4: Tensor) -> Tensor:
    """Boxes xyxy from points and their distances (left, top, right, bottom), in pixels; any leading shape."""
    return torch.cat((centers_K2 - distances_K4[..., :2], centers_K2 + distances_K4[..., 2:]), dim=-1)


@torch.no_grad()
def decode(outputs: Outputs) -> Decoded:
    """Boxes, not clipped to the image, and the scores that rank them: class and quality, if there is any."""
    boxes_BP4 = boxes_from_distances(outputs.grid.centers_P2, outputs.distances_BP4)
    scores_BPC = outputs.logits_BPC.sigmoid()
    if outputs.quality_BP is None:
        return Decoded(scores_BPC, boxes_BP4, None, outputs.peak_window)
    quality_BP = outputs.quality_BP.sigmoid()
    # The sigmoid of joint_logits, at a fraction of its cost.
    scores_BPC = scores_BPC * quality_BP.unsqueeze(-1)
    if outputs.scoring.geometric_mean:
        scores_BPC = scores_BPC.sqrt_()
    threshold_BP = quality_BP if outputs.scoring.class_threshold else None
    return Decoded(scores_BPC, boxes_BP4, threshold_BP, outputs.peak_window)
