"""From the head's outputs to boxes and scores.

Shape legend: B images, P points of all levels, C classes, K points picked from any of them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from assigners.core.types import Predictions
from detector.detector import Outputs


def joint_logits(logits_BPC: Tensor, quality_BP: Tensor | None) -> Tensor:
    """The logits of sigmoid(class) x sigmoid(quality), exact and stable; without quality the class logits.

    Returns: (B, P, C), differentiable in both.
    """
    if quality_BP is None:
        return logits_BPC
    # p = 1 / ((1 + e^-c)(1 + e^-q)), so (1 - p) / p = e^-c (1 + e^-q) + e^-q, and the logit of p is
    # -log of that: -logaddexp(-c + softplus(-q), -q), where softplus(-q) = -logsigmoid(q).
    quality_BP1 = quality_BP.unsqueeze(-1)
    return -torch.logaddexp(-logsigmoid(quality_BP1) - logits_BPC, -quality_BP1)


def boxes_from_distances(centers_K2: Tensor, distances_K4: Tensor) -> Tensor:
    """Boxes xyxy from points and their distances (left, top, right, bottom), in pixels; any leading shape."""
    return torch.cat((centers_K2 - distances_K4[..., :2], centers_K2 + distances_K4[..., 2:]), dim=-1)


@torch.no_grad()
def decode(outputs: Outputs) -> Predictions:
    """Boxes (not clipped to the image) and the scores that rank them: class probability x quality, if any."""
    scores_BPC = outputs.logits_BPC.sigmoid()
    if outputs.quality_BP is not None:
        # The same number as the sigmoid of joint_logits, at a fraction of its cost.
        scores_BPC = scores_BPC * outputs.quality_BP.sigmoid().unsqueeze(-1)
    return Predictions(scores_BPC, boxes_from_distances(outputs.grid.centers_P2, outputs.distances_BP4))
