"""Dynamic soft label assignment (DSLA; RTMDet, arXiv 2212.07784, section 3.3, and NanoDet-Plus).

Shape legend: B images, P points, G truths, C classes, M candidate pairs, K positives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from assigners.boxes import iou
from assigners.pairs import assignment, exact, points_within, predicted, probability, settle_among_all
from assigners.simota import LOG_FLOOR, SLICE, SimOTA
from assigners.types import Assignment, GroundTruth, PointGrid, Predictions


class DSLA:
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
        self.iou_weight, self.center_radius = iou_weight, center_radius
        self.purchase = SimOTA(candidate_topk=candidate_topk)  # which shares its dynamic k

    @exact
    def __call__(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
    ) -> Assignment:
        """The positives of a batch; `progress` is ignored."""
        boxes_G4 = truth.boxes_G4.float()
        # 1. Candidates: the points inside the truth.
        pairs = points_within(grid, boxes_G4[:, None, :2], boxes_G4[:, None, 2:], boxes_G4)
        cell_M = pairs.cells(truth, len(grid))
        foreground_BP = torch.zeros(predictions.boxes_BP4.shape[:2], dtype=torch.bool, device=cell_M.device)
        foreground_BP.view(-1)[cell_M] = True
        # 2. Cost of class, box and distance.
        p_M, boxes_M4 = predicted(pairs, cell_M, predictions, truth)
        truth_M4 = boxes_G4.index_select(0, pairs.truth_M)
        iou_M = iou(boxes_M4, truth_M4)
        others_M = _background(predictions, foreground_BP).index_select(0, cell_M) - _soft_cost(p_M)
        cost_M = others_M + _soft_cost(p_M, iou_M) - self.iou_weight * (iou_M + 1e-7).log()
        if self.center_radius is not None:
            offset_M2 = grid.centers_P2[pairs.point_M] - (truth_M4[:, :2] + truth_M4[:, 2:]) * 0.5
            distance_M = offset_M2.square().sum(1).sqrt() / grid.stride_P[pairs.point_M]
            # Through float64, so that equal points stay exact ties.
            cost_M = cost_M + (10.0 ** (distance_M.double() - self.center_radius)).float()
        # 3. The k cheapest points of each truth, k by its IoUs.
        row_K = self.purchase._cheapest(pairs, cost_M, iou_M, foreground_BP, predictions, truth)
        # 4. A contested point goes to the cheapest of all truths around it.
        row_K = settle_among_all(cell_M, row_K, -cost_M)
        # 5. Target: the IoU.
        score_K = iou_M[row_K]
        return assignment(pairs[row_K], truth, score_K, torch.ones_like(score_K))


def _soft_cost(p: Tensor, target: Tensor | float = 0.0) -> Tensor:
    """|target - p|^2 x BCE(p, target), the quality focal loss of arXiv 2006.04388."""
    log_p, log_not_p = p.log().clamp_(min=LOG_FLOOR), (1 - p).log().clamp_(min=LOG_FLOOR)
    return (target - p).square() * -(target * log_p + (1 - target) * log_not_p)


def _background(predictions: Predictions, foreground_BP: Tensor) -> Tensor:
    """What a point pays if all classes are background, (B x P,); 0 where it is not asked for."""
    cost_P = torch.zeros_like(foreground_BP, dtype=torch.float32).view(-1)
    scores_PC = predictions.scores_BPC.flatten(0, 1)
    for point_F in foreground_BP.view(-1).nonzero().squeeze(1).split(SLICE):
        cost_P[point_F] = _soft_cost(probability(scores_PC.index_select(0, point_F))).sum(1)
    return cost_P
