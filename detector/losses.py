"""Five classification losses of one shape, and the two losses of boxes.

Each classification loss has a background term for every (image, point, class) and a positive term for the
class of a positive point. BCE(p, t) is the binary cross entropy of p = sigmoid(logit) against t.

Shape legend: B images, P points, C classes, K positives, E values that a distance may take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import cross_entropy, softplus

GIOU_EPS = 1e-7


class ClassificationLoss(Protocol):
    """A classification loss: a term for background and one for positives, both without reduction."""

    def background(self, logits: Tensor) -> Tensor:
        """The term of every logit, as if it were background; any shape."""

    def positive(self, logits_K: Tensor, score_K: Tensor, weight_K: Tensor) -> Tensor:
        """The term of the positives' own class: target `score_K` in [0, 1], `weight_K` from the assigner."""


class _PowerBackground(torch.autograd.Function):
    """factor x p^power x BCE(p, 0), which keeps nothing but the logits for its backward.

    Over (B, P, C) plain autograd would keep four tensors of that size, the largest of the training step.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, factor: float, power: float) -> Tensor:
        ctx.save_for_backward(logits)
        ctx.factor, ctx.power = factor, power
        return logits.sigmoid().pow_(power).mul_(softplus(logits)).mul_(factor)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        # With s = softplus(x), whose derivative is p: (p^n s)' = n p^n (1 - p) s + p^n p.
        (logits,) = ctx.saved_tensors
        p = logits.sigmoid()
        slope = softplus(logits).mul_(1 - p).mul_(ctx.power).add_(p)
        return slope.mul_(p.pow_(ctx.power)).mul_(gradient * ctx.factor), None, None


def _power_background(logits: Tensor, factor: float, power: float) -> Tensor:
    return _PowerBackground.apply(logits, factor, power)


@dataclass(frozen=True)
class Focal:
    """Focal loss (arXiv 1708.02002, section 3.2).

    Positives alpha (1 - p)^gamma BCE(p, 1), whatever their score; background (1 - alpha) p^gamma BCE(p, 0).
    """

    alpha: float = 0.25
    gamma: float = 2.0

    def background(self, logits: Tensor) -> Tensor:
        return _power_background(logits, 1 - self.alpha, self.gamma)

    def positive(self, logits_K: Tensor, score_K: Tensor, weight_K: Tensor) -> Tensor:
        return weight_K * self.alpha * (-logits_K).sigmoid().pow(self.gamma) * softplus(-logits_K)


@dataclass(frozen=True)
class QualityFocal:
    """Quality focal loss (arXiv 2006.04388, equation 2).

    |score - p|^beta BCE(p, score); the score of background is 0.
    """

    beta: float = 2.0

    def background(self, logits: Tensor) -> Tensor:
        return _power_background(logits, 1.0, self.beta)

    def positive(self, logits_K: Tensor, score_K: Tensor, weight_K: Tensor) -> Tensor:
        distance_K = (score_K - logits_K.sigmoid()).abs()
        return weight_K * distance_K.pow(self.beta) * bce(logits_K, score_K, reduction="none")


@dataclass(frozen=True)
class Varifocal:
    """Varifocal loss (arXiv 2008.13367, equation 2).

    Positives score BCE(p, score); background alpha p^gamma BCE(p, 0).
    """

    alpha: float = 0.75
    gamma: float = 2.0

    def background(self, logits: Tensor) -> Tensor:
        return _power_background(logits, self.alpha, self.gamma)

    def positive(self, logits_K: Tensor, score_K: Tensor, weight_K: Tensor) -> Tensor:
        return weight_K * score_K * bce(logits_K, score_K, reduction="none")


@dataclass(frozen=True)
class SoftFocal:
    """O2F's loss (arXiv 2303.11567): positives BCE(p, score), background alpha p^gamma BCE(p, 0)."""

    alpha: float = 0.75
    gamma: float = 2.0

    def background(self, logits: Tensor) -> Tensor:
        return _power_background(logits, self.alpha, self.gamma)

    def positive(self, logits_K: Tensor, score_K: Tensor, weight_K: Tensor) -> Tensor:
        return weight_K * bce(logits_K, score_K, reduction="none")


@dataclass(frozen=True)
class Matchability:
    """Matchability-aware loss (MAL; DEIM, arXiv 2412.04234, section 3.3).

    Positives BCE(p, score) with score = IoU^gamma, set by the criterion; background p^gamma BCE(p, 0),
    without the factor alpha of the varifocal loss. So a poor box is taught a low score, by a full term.
    """

    gamma: float = 1.5

    def background(self, logits: Tensor) -> Tensor:
        return _power_background(logits, 1.0, self.gamma)

    def positive(self, logits_K: Tensor, score_K: Tensor, weight_K: Tensor) -> Tensor:
        return weight_K * bce(logits_K, score_K, reduction="none")


def giou_loss(boxes_K4: Tensor, targets_K4: Tensor) -> Tensor:
    """1 - generalised IoU of each pair of boxes xyxy (arXiv 1902.09630), (K,) in [0, 2].

    The numbers of torchvision's loss, whose boolean indexing makes the host wait for a GPU.
    """
    low_K2 = torch.maximum(boxes_K4[:, :2], targets_K4[:, :2])
    side_K2 = torch.minimum(boxes_K4[:, 2:], targets_K4[:, 2:]) - low_K2
    # Not clamped sides: where the boxes miss each other no side has a gradient.
    inter_K = torch.where((side_K2 > 0).all(1), _product(side_K2), 0.0)
    area_K = _product(boxes_K4[:, 2:] - boxes_K4[:, :2]) + _product(targets_K4[:, 2:] - targets_K4[:, :2])
    union_K = area_K - inter_K
    hull_low_K2 = torch.minimum(boxes_K4[:, :2], targets_K4[:, :2])
    hull_K = _product(torch.maximum(boxes_K4[:, 2:], targets_K4[:, 2:]) - hull_low_K2)
    return 1 - (inter_K / (union_K + GIOU_EPS) - (hull_K - union_K) / (hull_K + GIOU_EPS))


def _product(side_K2: Tensor) -> Tensor:
    return side_K2[:, 0] * side_K2[:, 1]  # the gradient of torch's prod asks whether there are zeros


def distribution_focal_loss(logits_K4E: Tensor, distances_K4: Tensor) -> Tensor:
    """The mean over the sides of a box of the cross entropy with the two values around each distance, (K,).

    Generalized Focal Loss (arXiv 2006.04388, equation 6). The target of a distance of 2.3 is
    0.7 of value 2 and 0.3 of value 3.

    Args:
        logits_K4E: of each distance being 0, 1, ..., E - 1 strides.
        distances_K4: in strides; clipped to what the values can express.
    """
    # Short of the last value, so that there is always one above.
    distances_K4 = distances_K4.clamp(0, logits_K4E.shape[-1] - 1 - 0.01)
    lower_K4 = distances_K4.long()
    share_K4 = distances_K4 - lower_K4
    logits_KE4 = logits_K4E.transpose(1, 2)
    lower_loss_K4 = cross_entropy(logits_KE4, lower_K4, reduction="none")
    upper_loss_K4 = cross_entropy(logits_KE4, lower_K4 + 1, reduction="none")
    return ((1 - share_K4) * lower_loss_K4 + share_K4 * upper_loss_K4).mean(dim=1)
