"""Dynamic soft label assignment (DSLA; RTMDet, arXiv 2212.07784, section 3.3, and NanoDet-Plus).

Shape legend: B images, P points, G truths, M candidate pairs, K positives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .core.boxes import iou, take
from .core.dynamic_k import background_cost, foreground, lowest_cost
from .core.pairs import assignment, exact, points_inside, predicted
from .core.ranking import settle_among_all
from .core.types import Assigner, Assignment, GroundTruth, PointGrid, Predictions
from .simota import LOG_FLOOR


class DSLA(Assigner):
    """SimOTA with soft labels in its costs: the class is compared with the IoU, the centre is preferred.

    Args:
        candidate_topk: how many of the largest IoUs make up the dynamic k.
        iou_weight: the weight of the box cost.
        center_radius: the distance from the centre, in strides, at which the soft centre prior costs 1; it
            is ten times as much one stride farther. None leaves the prior out, as NanoDet-Plus does.
    """

    def __init__(
        self, candidate_topk: int = 13, iou_weight: float = 3.0, center_radius: float | None = 3.0
    ) -> None:
        if candidate_topk < 1:
            raise ValueError(f"candidate_topk must be at least 1, got {candidate_topk}")
        self.iou_weight, self.center_radius, self.candidate_topk = iou_weight, center_radius, candidate_topk

    @exact
    def __call__(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
    ) -> Assignment:
        """The positives of a batch; `progress` is ignored."""
        boxes_G4 = truth.boxes_G4.float()
        # 1. Candidates: the points inside the truth.
        pairs = points_inside(grid, boxes_G4)
        cell_M = pairs.cells(truth, len(grid))
        cell_F = foreground(cell_M, predictions)
        # 2. Cost of class, box and distance.
        p_M, boxes_M4 = predicted(pairs, cell_M, predictions, truth)
        truth_M4 = take(boxes_G4, pairs.truth_M)
        iou_M = iou(boxes_M4, truth_M4)
        background_M = background_cost(predictions, cell_F, _soft_background).index_select(0, cell_M)
        others_M = background_M + _soft_background(p_M)
        cost_M = others_M + _soft_cost(p_M, iou_M) - self.iou_weight * (iou_M + 1e-7).log()
        if self.center_radius is not None:
            offset_M2 = grid.centers_P2[pairs.point_M] - (truth_M4[:, :2] + truth_M4[:, 2:]) * 0.5
            distance_M = offset_M2.square().sum(1).sqrt() / grid.stride_P[pairs.point_M]
            # Through float64, so that equal points stay exact ties.
            cost_M = cost_M + (10.0 ** (distance_M.double() - self.center_radius)).float()
        # 3. The k points of lowest cost of each truth, k by its IoUs.
        value_M = cost_M.neg_()
        row_N, claims_N = lowest_cost(pairs, value_M, iou_M, cell_F, predictions, truth, self.candidate_topk)
        # 4. A contested point goes to the lowest cost of all truths around it.
        row_K = settle_among_all(cell_M, row_N, claims_N, value_M, predictions.cells)
        # 5. Target: the IoU.
        score_K = iou_M[row_K]
        return assignment(pairs[row_K], truth, score_K, torch.ones_like(score_K))


def _soft_background(p: Tensor) -> Tensor:
    """Less the cost of a target of 0."""
    return p.square().mul_((1 - p).log_().clamp_(min=LOG_FLOOR))


def _soft_cost(p: Tensor, target: Tensor) -> Tensor:
    """|target - p|^2 x BCE(p, target), the quality focal loss of arXiv 2006.04388."""
    log_p, log_not_p = p.log().clamp_(min=LOG_FLOOR), (1 - p).log().clamp_(min=LOG_FLOOR)
    return (target - p).square() * -(target * log_p + (1 - target) * log_not_p)
