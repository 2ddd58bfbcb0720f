"""The loss of a batch: classification over all points, boxes and centerness over the positives.

Shape legend: B images, P points, C classes, G ground-truth boxes, K positives, N points of weighted
background.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from assigners.core.boxes import iou
from assigners.core.types import Assignment, GroundTruth
from detector.decode import boxes_from_distances, joint_logits
from detector.losses import (
    ClassificationLoss,
    Focal,
    Matchability,
    QualityFocal,
    SoftFocal,
    Varifocal,
    distribution_focal_loss,
    giou_loss,
)
from detector.outputs import QUALITIES, Outputs
from errors import UsageError

CLASSIFICATION: dict[str, type[ClassificationLoss]] = {
    "focal": Focal,
    "quality_focal": QualityFocal,
    "varifocal": Varifocal,
    "soft_focal": SoftFocal,
    "matchability": Matchability,
}
BOX_WEIGHTS = ("one", "score", "centerness", "weight")
NORMALIZERS = ("positives", "scores", "truths")


class Criterion:
    """The losses of outputs, given the ground truth and the assignment of any assigner.

    Every trainable parameter gets a finite gradient on every batch, since sums over no positives keep their
    graph; so DDP finds no unused parameter.

    Args:
        classification: "focal", "quality_focal", "varifocal", "soft_focal" or "matchability"; the last one
            multiplies the assigner's score by IoU^1.5 of the predicted box with its ground truth, which for
            scores of 1 is DEIM's target.
        cls_gain, box_gain, quality_gain: factors of the three losses.
        box_weight: weight of a positive's box: "one", its "score", the "centerness" of its point, or the
            "weight" of its classification term.
        normalizer: what divides the classification loss: the number of "positives", of ground-truth boxes
            ("truths"), or the sum of "scores".
        quality: the head's branch. "implicit" puts the classification loss on the score of class and quality.
        dfl_gain: factor of the distribution focal loss, weighted and divided as the box loss is; without
            effect on a head that predicts no distribution.

    Raises:
        UsageError: for an unknown name.
    """

    def __init__(
        self,
        classification: str,
        cls_gain: float = 1.0,
        box_gain: float = 2.0,
        box_weight: str = "one",
        normalizer: str = "positives",
        quality_gain: float = 1.0,
        quality: str = "none",
        dfl_gain: float = 0.25,
    ) -> None:
        _check("classification", classification, tuple(CLASSIFICATION))
        _check("box_weight", box_weight, BOX_WEIGHTS)
        _check("normalizer", normalizer, NORMALIZERS)
        _check("quality", quality, QUALITIES)
        self.classification = CLASSIFICATION[classification]()
        self.cls_gain = cls_gain
        self.box_gain = box_gain
        self.box_weight = box_weight
        self.normalizer = normalizer
        self.quality_gain = quality_gain
        self.quality = quality
        self.dfl_gain = dfl_gain

    def __call__(self, outputs: Outputs, truth: GroundTruth, assignment: Assignment) -> dict[str, Tensor]:
        """Scalars to be summed: "cls", "box", "quality" for centerness, "dfl" for a distribution.

        With torch.distributed every rank must call this for every batch: the normalisers are averaged over
        the ranks, as DDP averages the gradients.

        Raises:
            ValueError: if the outputs have no quality and the criterion needs one, or the other way round.
        """
        if (outputs.quality_BP is None) != (self.quality == "none"):
            has = "no quality" if outputs.quality_BP is None else "a quality"
            raise ValueError(f"the outputs have {has}, but the criterion was made for quality={self.quality}")
        at = (assignment.image_K, assignment.point_K)
        centers_K2 = outputs.grid.centers_P2[assignment.point_K]
        targets_K4 = truth.boxes_G4[assignment.truth_K]
        centerness_K = target_centerness(centers_K2, targets_K4)
        weight_K = {
            "one": torch.ones_like(centerness_K),
            "score": assignment.score_K,
            "centerness": centerness_K,
            "weight": assignment.weight_K,
        }[self.box_weight]
        count = centerness_K.new_full((), len(assignment))
        cls_count = {
            "positives": count,
            "scores": assignment.score_K.sum(),
            "truths": centerness_K.new_full((), len(truth)),
        }[self.normalizer]
        counts = _mean_over_ranks(torch.stack((cls_count, weight_K.sum(), count))).clamp(min=1.0)

        logits_BPC = outputs.logits_BPC
        if self.quality == "implicit":
            logits_BPC = joint_logits(logits_BPC, outputs.quality_BP, outputs.scoring.geometric_mean)
        logits_K = logits_BPC[(*at, truth.labels_G[assignment.truth_K])]
        # Background everywhere, then exchanged at the positives: no one-hot target of (B, P, C).
        cls = self.classification.background(logits_BPC).sum()
        cls = cls - self.classification.background(logits_K).sum()
        boxes_K4 = boxes_from_distances(centers_K2, outputs.distances_BP4[at])
        score_K = assignment.score_K
        if isinstance(self.classification, Matchability):
            score_K = score_K * iou(boxes_K4.detach(), targets_K4) ** self.classification.gamma
        cls = cls + self.classification.positive(logits_K, score_K, assignment.weight_K).sum()
        if len(assignment.image_N):
            cls = cls + self._weighted_background(logits_BPC, truth, assignment)

        giou_K = giou_loss(boxes_K4, targets_K4)
        losses = {
            "cls": self.cls_gain * cls / counts[0],
            "box": self.box_gain * (weight_K * giou_K).sum() / counts[1],
        }
        if self.quality == "centerness":
            assert outputs.quality_BP is not None
            quality = bce(outputs.quality_BP[at], centerness_K, reduction="sum")
            losses["quality"] = self.quality_gain * quality / counts[2]
        if outputs.distribution_BP4E is not None:
            sides_K4 = torch.cat((centers_K2 - targets_K4[:, :2], targets_K4[:, 2:] - centers_K2), dim=1)
            strides_K4 = sides_K4 / outputs.grid.stride_P[assignment.point_K, None]
            dfl_K = distribution_focal_loss(outputs.distribution_BP4E[at], strides_K4)
            losses["dfl"] = self.dfl_gain * (weight_K * dfl_K).sum() / counts[1]
        return losses

    def _weighted_background(self, logits_BPC: Tensor, truth: GroundTruth, assignment: Assignment) -> Tensor:
        """What the rows N add to a loss that counts all background but the positives' own class with 1."""
        at_N = (assignment.image_N, assignment.point_N)
        label_N = assignment.labels(truth, *logits_BPC.shape[:2])[at_N]
        term_NC = self.classification.background(logits_BPC[at_N])
        own_N = term_NC.gather(1, label_N.clamp(min=0)[:, None]).squeeze(1)
        weight_N = assignment.weight_N
        return torch.where(label_N < 0, (weight_N - 1) * term_NC.sum(1), weight_N * own_N).sum()


def target_centerness(centers_K2: Tensor, boxes_K4: Tensor) -> Tensor:
    """How central each point lies in its box, 1 in the middle, 0 on a side or outside; any leading shape.

    sqrt(min(l, r) / max(l, r) x min(t, b) / max(t, b)): FCOS, arXiv 1904.01355, equation 3.
    """
    near_K2 = (centers_K2 - boxes_K4[..., :2]).clamp(min=0)
    far_K2 = (boxes_K4[..., 2:] - centers_K2).clamp(min=0)
    smaller, larger = torch.minimum(near_K2, far_K2), torch.maximum(near_K2, far_K2)
    return (smaller / larger.clamp(min=1e-6)).prod(dim=-1).sqrt()


def _check(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"loss.{option}={value} must be one of {', '.join(known)}.")


def _mean_over_ranks(values: Tensor) -> Tensor:
    if not (dist.is_available() and dist.is_initialized()):
        return values
    dist.all_reduce(values)
    return values / dist.get_world_size()
