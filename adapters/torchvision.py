"""torchvision's FCOS with any assigner.

    model = AssignedFCOS(backbone, num_classes=91, assigner=ATSS())

Its loss knows positives and background alone: soft scores, weights and ignored points are not used.

Shape legend: B images, P points, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.fcos import FCOS

from . import Assignment, GroundTruth, Predictions, grid_of, row_in_image


class AssignedFCOS(FCOS):
    """FCOS, but which points are positive for which box is for `assigner` to say.

    Args:
        assigner: any of the assigners.
        size_divisible: images are padded to multiples of it. With the last stride, 128, the points of every
            level lie in steps of its stride; with less they do not, and a ValueError says so.

    Attributes:
        progress: in [0, 1], how much of training is done, for assigners with a schedule. Set it.
    """

    def __init__(
        self, *args: Any, assigner: Callable[..., Assignment], size_divisible: int = 128, **kwargs: Any
    ) -> None:
        super().__init__(*args, size_divisible=size_divisible, **kwargs)
        self.assigner, self.progress = assigner, 0.0

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        num_anchors_per_level: list[int],
    ) -> dict[str, Tensor]:
        anchors_BP4 = torch.stack(anchors)
        center_P2 = (anchors[0][:, :2] + anchors[0][:, 2:]) / 2
        grid = grid_of(center_P2, anchors[0][:, 2] - anchors[0][:, 0], offset=0.0)
        with torch.no_grad():
            # As inference ranks detections.
            centerness_BP1 = head_outputs["bbox_ctrness"].sigmoid()
            scores_BPC = (head_outputs["cls_logits"].sigmoid() * centerness_BP1).sqrt()
            boxes_BP4 = self.box_coder.decode(head_outputs["bbox_regression"], anchors_BP4)
        truth = GroundTruth.from_list([(target["boxes"], target["labels"]) for target in targets])
        found = self.assigner(grid, Predictions(scores_BPC, boxes_BP4), truth, self.progress)
        matched_BP = row_in_image(found, truth, *scores_BPC.shape[:2])
        losses: dict[str, Tensor] = self.head.compute_loss(targets, head_outputs, anchors, list(matched_BP))
        return losses
