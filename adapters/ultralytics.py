"""Any assigner with the call of ultralytics' TaskAlignedAssigner.

    model.criterion = model.init_criterion()
    model.criterion.assigner = CallAssigner(O2F())

Written from the documented signature (docs.ultralytics.com/reference/utils/tal); nothing is imported. Its
loss takes soft scores and has no weights, so those and ignored points are not used.

Shape legend: B images, P points, C classes, N truths of the longest image, G truths of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from . import Assignment, GroundTruth, Predictions, _grid, row_in_image


class CallAssigner(nn.Module):
    """Stands where a TaskAlignedAssigner stood.

    Args:
        assigner: any of the assigners.
        strides: of the head's levels.

    Attributes:
        progress: in [0, 1], how much of training is done, for assigners with a schedule. Set it.
    """

    def __init__(self, assigner: Callable[..., Assignment], strides: Sequence[int] = (8, 16, 32)) -> None:
        super().__init__()
        self.assigner, self.strides, self.progress = assigner, tuple(strides), 0.0

    @torch.no_grad()
    def forward(
        self,
        pd_scores: Tensor,
        pd_bboxes: Tensor,
        anc_points: Tensor,
        gt_labels: Tensor,
        gt_bboxes: Tensor,
        mask_gt: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Target labels (B, P), boxes (B, P, 4), scores (B, P, C), positives (B, P) and truths (B, P).

        Args:
            pd_scores: (B, P, C) probabilities.
            pd_bboxes: (B, P, 4) xyxy in pixels.
            anc_points: (P, 2), the centres of the cells in pixels.
            gt_labels, gt_bboxes, mask_gt: (B, N, 1), (B, N, 4), (B, N, 1); the mask is 0 in padding.
        """
        images, points, classes = pd_scores.shape
        # Only the first column of level s has x = s / 2, and only its first row y = s / 2.
        first_L2 = torch.stack([(anc_points == stride / 2).sum(0) for stride in self.strides])
        shapes = tuple((rows, columns) for rows, columns in first_L2.tolist())
        grid = _grid(shapes, self.strides, anc_points.device, 0.5)
        real_BN = mask_gt.reshape(gt_bboxes.shape[:2]) > 0
        labels_G = gt_labels.reshape(gt_bboxes.shape[:2])[real_BN].long()
        truth = GroundTruth(gt_bboxes[real_BN].float(), labels_G, real_BN.nonzero()[:, 0])
        found = self.assigner(grid, Predictions(pd_scores, pd_bboxes), truth, self.progress)
        target_scores = found.targets(truth, images, points, classes).to(pd_scores.dtype)
        target_labels = found.labels(truth, images, points, background=0)
        target_bboxes = torch.zeros_like(pd_bboxes)
        at_K = found.image_K, found.point_K
        target_bboxes[at_K] = truth.boxes_G4[found.truth_K].to(pd_bboxes.dtype)
        row_BP = row_in_image(found, truth, images, points)
        return target_labels, target_bboxes, target_scores, row_BP >= 0, row_BP.clamp(min=0)
