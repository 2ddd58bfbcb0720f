"""Matching by the largest anchor IoU (RetinaNet, arXiv 1708.02002, section 4, "Anchors").

Shape legend: G truths, L levels, M candidate pairs, K positives, N ignored points.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .core.anchors import anchors, best_anchor
from .core.boxes import iou, take, usable
from .core.pairs import Pairs, assignment, exact, points_within
from .core.ranking import best_per_cell
from .core.types import Assigner, Assignment, GroundTruth, PointGrid, Predictions

FORCED = 2.0  # added to an IoU, so that a truth's best anchor beats every other claim to its point


class MaxIoU(Assigner):
    """The points whose anchors overlap a truth enough; points between the two thresholds are ignored.

    RetinaNet predicts one box per anchor. Here a point predicts one box, so it has the IoU of the best of its
    anchors, which are squares.

    Args:
        positive: IoU from which a point is positive.
        negative: IoU below which a point is background.
        anchor_scale: side of the smallest anchor, in strides.
        scales: anchors per point, in steps of 2^(1 / scales). With anchor_scale 8 and one scale this is the
            RetinaNet (#A=1) of ATSS, arXiv 1912.02424, section 3.
        force_match: every truth also takes the point with its best anchor, whatever the IoU.
    """

    def __init__(
        self,
        positive: float = 0.5,
        negative: float = 0.4,
        anchor_scale: float = 4.0,
        scales: int = 3,
        force_match: bool = True,
    ) -> None:
        if not 0 < negative <= positive <= 1:
            raise ValueError(f"0 < negative <= positive <= 1 must hold, got {negative} and {positive}")
        if anchor_scale <= 0 or scales < 1:
            raise ValueError(
                f"anchor_scale must be above 0 and scales at least 1, got {anchor_scale}, {scales}"
            )
        self.positive, self.negative, self.force_match = positive, negative, force_match
        # In steps of 1/64, so that corners are exact in float32 and anchors of equal IoU are exact ties.
        self.scales = [round(64 * anchor_scale * 2 ** (step / scales)) / 64 for step in range(scales)]

    @exact
    def __call__(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
    ) -> Assignment:
        """The positives of a batch; predictions and `progress` are ignored."""
        boxes_G4 = truth.boxes_G4.float()
        boxes_G4 = torch.where(usable(boxes_G4, grid)[:, None], boxes_G4, 0.0)
        # 1. Candidates: the points whose anchors can reach the lower threshold.
        pairs = self._near(grid, boxes_G4)
        # 2. The IoU of the best anchor.
        center_M2, stride_M = take(grid.centers_P2, pairs.point_M), grid.stride_P[pairs.point_M]
        box_M4 = take(boxes_G4, pairs.truth_M)
        iou_MS = [iou(anchors(center_M2, stride_M * scale), box_M4) for scale in self.scales]
        iou_M = torch.stack(iou_MS).amax(0)
        row_N = (iou_M >= self.negative).nonzero().squeeze(1)
        pairs, value_N = pairs[row_N], iou_M[row_N]
        # 3. A point belongs to the truth that it overlaps most.
        if self.force_match:
            pairs, value_N = self._forced(grid, boxes_G4, pairs, value_N)
        row_N = best_per_cell(pairs.cells(truth, len(grid)), value_N, predictions.cells)
        pairs, value_N = pairs[row_N], value_N[row_N]
        # 4. Positive from the upper threshold on, ignored below it.
        positive_N = value_N >= self.positive
        ignored, positives = (pairs[rows_N.nonzero().squeeze(1)] for rows_N in (~positive_N, positive_N))
        # 5. Target.
        one_K = torch.ones_like(positives.truth_M, dtype=torch.float32)
        return replace(
            assignment(positives, truth, one_K, one_K),
            image_N=truth.image_G[ignored.truth_M],
            point_N=ignored.point_M,
            weight_N=torch.zeros_like(ignored.truth_M, dtype=torch.float32),
        )

    def _near(self, grid: PointGrid, boxes_G4: Tensor) -> Pairs:
        """The points around each truth among which all lie whose anchors have the lower IoU with it."""
        center_G12 = ((boxes_G4[:, :2] + boxes_G4[:, 2:]) * 0.5)[:, None]
        side_G12 = (boxes_G4[:, 2:] - boxes_G4[:, :2])[:, None]
        small_L1, large_L1 = (grid.stride_L[:, None] * scale for scale in (self.scales[0], self.scales[-1]))
        # No IoU exceeds the one along a single axis, which for sides a and w and a distance d of the centres
        # is at most min(a, w) / max(a, w), and at least t only where d <= (a + w) / 2 x (1 - t) / (1 + t).
        t = self.negative * (1 - 1e-4)
        possible_GL2 = (large_L1 >= t * side_G12) & (small_L1 * t <= side_G12)
        half_GL2 = (large_L1 + side_G12) * (0.5 * (1 - t) / (1 + t))
        half_GL2 = half_GL2 * possible_GL2.all(-1, keepdim=True)
        return points_within(grid, center_G12 - half_GL2, center_G12 + half_GL2, boxes_G4)

    def _forced(
        self, grid: PointGrid, boxes_G4: Tensor, pairs: Pairs, value_N: Tensor
    ) -> tuple[Pairs, Tensor]:
        """Adds each truth's best point of the whole grid, with a value that beats every other claim."""
        found = [best_anchor(grid, boxes_G4, scale) for scale in self.scales]
        iou_G = torch.stack([iou_G for iou_G, _ in found]).amax(0)
        points = [torch.where(value_G == iou_G, point_G, len(grid)) for value_G, point_G in found]
        truth_G = (iou_G > 0).nonzero().squeeze(1)
        truth_N = torch.cat((pairs.truth_M, truth_G))
        point_N = torch.cat((pairs.point_M, torch.stack(points).amin(0)[truth_G]))
        # Earlier rows win ties, and only these claims can tie with each other: the order of the rest is free.
        return Pairs(truth_N, point_N), torch.cat((value_N, iou_G[truth_G] + FORCED))
