"""SimOTA assignment (YOLOX, arXiv 2107.08430, section 2; varifocal cost of PicoDet, 2111.00902).

Shape legend: B images, P points, L levels, G truths, M candidate pairs, K positives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .core.boxes import giou, iou, take
from .core.dynamic_k import background_cost, foreground, lowest_cost
from .core.pairs import Pairs, assignment, corners, exact, points_above, predicted
from .core.ranking import settle_among_all
from .core.types import Assigner, Assignment, GroundTruth, PointGrid, Predictions

PENALTY = 1e5  # far above any real cost, yet small enough that float32 keeps the order of costs beneath it
SPREAD = 2.0**17  # the power of two above the penalty
LOG_FLOOR = -100.0  # of a probability of exactly 0, as torch's own binary cross entropy has it
VARIFOCAL_ALPHA, VARIFOCAL_GAMMA = 0.75, 2.0  # 2008.13367, section 3.2


class SimOTA(Assigner):
    """The points of lowest cost of each truth; how many follows from the IoUs of its predictions.

    Args:
        center_radius: half side of the centre square, in strides.
        candidate_topk: how many of the largest IoUs make up the dynamic k.
        iou_weight, cls_weight: the weights of the two costs.
        cost: "bce" (YOLOX) or "varifocal" (PicoDet).
        region: "box_or_center": foreground is inside a truth or in its centre square, and a point not in
            both pays the penalty. "center": the centre square alone decides (YOLOX's newest head).
    """

    def __init__(
        self,
        center_radius: float = 2.5,
        candidate_topk: int = 10,
        iou_weight: float = 3.0,
        cls_weight: float = 1.0,
        cost: str = "bce",
        region: str = "box_or_center",
    ) -> None:
        if candidate_topk < 1:
            raise ValueError(f"candidate_topk must be at least 1, got {candidate_topk}")
        if center_radius <= 0:
            raise ValueError(f"center_radius must be above 0, got {center_radius}")
        if cost not in ("bce", "varifocal"):
            raise ValueError(f'cost must be "bce" or "varifocal", got "{cost}"')
        if region not in ("box_or_center", "center"):
            raise ValueError(f'region must be "box_or_center" or "center", got "{region}"')
        self.center_radius, self.candidate_topk = center_radius, candidate_topk
        self.iou_weight, self.cls_weight, self.cost, self.region = iou_weight, cls_weight, cost, region

    @exact
    def __call__(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
    ) -> Assignment:
        """The positives of a batch; `progress` is ignored."""
        # 1. Candidates: the truth's own region.
        pairs, truth_M4, proper_M = self._region(grid, truth.boxes_G4.float())
        cell_M = pairs.cells(truth, len(grid))
        cell_F = foreground(cell_M, predictions)
        # 2. Cost.
        p_M, boxes_M4 = predicted(pairs, cell_M, predictions, truth)
        iou_M = iou(boxes_M4, truth_M4)
        background = _bce_background if self.cost == "bce" else _varifocal_background
        background_M = background_cost(predictions, cell_F, background).index_select(0, cell_M)
        if self.cost == "bce":
            cls_M = background_M.add_(_log(1 - p_M)).sub_(_log(p_M))
            box_M = (iou_M + 1e-7).log_().neg_()
        else:
            # A target of 0 is background, for the truth's class too.
            bce_M = -(iou_M * _log(p_M) + (1 - iou_M) * _log(1 - p_M))
            cls_M = background_M + torch.where(iou_M > 0, iou_M * bce_M + _varifocal_background(p_M), 0.0)
            box_M = 1 - giou(boxes_M4, truth_M4)
        cost_M = cls_M.mul_(self.cls_weight).add_(box_M.mul_(self.iou_weight))
        if proper_M is not None:
            cost_M = torch.where(proper_M, cost_M, _penalised(cost_M))
        # 3. The k points of lowest cost of each truth, k by its IoUs.
        value_M = cost_M.neg_()
        row_N, claims_N = lowest_cost(pairs, value_M, iou_M, cell_F, predictions, truth, self.candidate_topk)
        # 4. A contested point goes to the lowest cost of all truths whose region holds it.
        row_K = settle_among_all(cell_M, row_N, claims_N, value_M, predictions.cells)
        # 5. Target: the IoU.
        score_K = iou_M[row_K]
        return assignment(pairs[row_K], truth, score_K, torch.ones_like(score_K))

    def _region(self, grid: PointGrid, boxes_G4: Tensor) -> tuple[Pairs, Tensor, Tensor | None]:
        """The candidate pairs, the boxes of their truths, and which pay no penalty; None for all."""
        box_G14, square_GL4 = corners(grid, boxes_G4, self.center_radius)
        if self.region == "center":
            pairs = points_above(grid, square_GL4, boxes_G4)
            return pairs, take(boxes_G4, pairs.truth_M), None
        # Box and square share a centre, so their union lies in the hull; the corners of the hull drop out.
        pairs = points_above(grid, torch.minimum(box_G14, square_GL4), boxes_G4)
        boxes_G6 = torch.cat((boxes_G4, (boxes_G4[:, :2] + boxes_G4[:, 2:]) * 0.5), 1)
        box_M4, middle_M2 = take(boxes_G6, pairs.truth_M).split((4, 2), dim=1)
        center_M2, stride_M1 = grid.points(pairs.point_M)
        half_M1 = self.center_radius * stride_M1
        in_box_M = ((center_M2 > box_M4[:, :2]) & (center_M2 < box_M4[:, 2:])).all(1)
        in_square_M = ((center_M2 > middle_M2 - half_M1) & (center_M2 < middle_M2 + half_M1)).all(1)
        row_M = (in_box_M | in_square_M).nonzero().squeeze(1)
        return pairs[row_M], take(box_M4, row_M), (in_box_M & in_square_M)[row_M]


def _penalised(cost_M: Tensor) -> Tensor:
    """Costs in the order, and with the ties, of cost + PENALTY, but apart in proportion: (1 + cost) x 2^17.

    All costs plus 1e5 would stand in one bar of the histogram of top_per_truth, which then spares no sorting.
    """
    return (cost_M + PENALTY).sub_(PENALTY - 1).mul_(SPREAD)


def _log(p: Tensor) -> Tensor:
    return p.log().clamp_(min=LOG_FLOOR)


def _bce_background(p: Tensor) -> Tensor:
    """Less the cost of a target of 0."""
    return (1 - p).log_().clamp_(min=LOG_FLOOR)


def _varifocal_background(p: Tensor) -> Tensor:
    """Less the cost of a target of 0."""
    return p.pow(VARIFOCAL_GAMMA).mul_(VARIFOCAL_ALPHA).mul_((1 - p).log_().clamp_(min=LOG_FLOOR))
