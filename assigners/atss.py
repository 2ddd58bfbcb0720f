"""ATSS assignment (arXiv 1912.02424, section 3.2, algorithm 1).

Shape legend: B images, P points of L levels, G truths, N = L x topk candidates of a truth, K positives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .core.anchors import anchors, best_anchor
from .core.boxes import iou, usable
from .core.nearest import nearest_points
from .core.pairs import Pairs, assignment, exact, predicted
from .core.ranking import best_per_cell
from .core.types import Assigner, Assignment, GroundTruth, PointGrid, Predictions


class ATSS(Assigner):
    """The near points whose anchor fits the truth better than its candidates do on average.

    Args:
        topk: candidates per truth and level.
        anchor_scale: side of a point's square anchor, in strides.
        score: the target, "one" or "iou" (of the predicted box with its truth).
        force_match: every truth also takes the point with the best anchor, whoever else claims it.
    """

    def __init__(
        self, topk: int = 9, anchor_scale: float = 8.0, score: str = "one", force_match: bool = False
    ) -> None:
        if topk < 1:
            raise ValueError(f"topk must be at least 1, got {topk}")
        if score not in ("one", "iou"):
            raise ValueError(f'score must be "one" or "iou", got "{score}"')
        self.topk, self.anchor_scale, self.score, self.force_match = topk, anchor_scale, score, force_match

    @exact
    def __call__(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
    ) -> Assignment:
        """The positives of a batch; `progress` is ignored."""
        boxes_G4 = truth.boxes_G4.float()
        boxes_G4 = boxes_G4.masked_fill(~usable(boxes_G4, grid)[:, None], 0.0)
        # 1. Candidates: the nearest points of every level.
        point_GN, exists_GN = nearest_points(grid, boxes_G4, self.topk)
        # 2. How well their anchors fit.
        center_GN2 = grid.centers_P2[point_GN]
        iou_GN = iou(anchors(center_GN2, grid.stride_P[point_GN] * self.anchor_scale), boxes_G4[:, None])
        # 3. The threshold of each truth; 4. positive is what reaches it from inside.
        inside_GN = ((center_GN2 > boxes_G4[:, None, :2]) & (center_GN2 < boxes_G4[:, None, 2:])).all(-1)
        positive_GN = iou_GN >= _threshold(iou_GN, exists_GN)[:, None]
        positive_GN.logical_and_(inside_GN).logical_and_(exists_GN)
        truth_K, column_K = positive_GN.nonzero().unbind(1)
        pairs, value_K = Pairs(truth_K, point_GN[truth_K, column_K]), iou_GN[truth_K, column_K]
        # 5. A contested point goes to the best anchor.
        if self.force_match:
            pairs, value_K = self._forced(grid, boxes_G4, pairs, value_K)
        row_K = best_per_cell(pairs.cells(truth, len(grid)), value_K, predictions.cells)
        positives = pairs[row_K]
        # 6. Target.
        score_K = torch.ones_like(value_K[row_K])
        if self.score == "iou":
            cell_K = positives.cells(truth, len(grid))
            boxes_K4 = predicted(positives, cell_K, predictions, truth)[1]
            score_K = iou(boxes_K4, boxes_G4[positives.truth_M])
        return assignment(positives, truth, score_K, torch.ones_like(score_K))

    def _forced(
        self, grid: PointGrid, boxes_G4: Tensor, pairs: Pairs, value_K: Tensor
    ) -> tuple[Pairs, Tensor]:
        """Adds each truth's best point over the whole grid, with a value that beats every other claim."""
        iou_G, point_G = best_anchor(grid, boxes_G4, self.anchor_scale)
        truth_G = (iou_G > 0).nonzero().squeeze(1)
        truth_K = torch.cat((pairs.truth_M, truth_G))
        point_K = torch.cat((pairs.point_M, point_G[truth_G]))
        # Earlier rows win ties, and only these claims can tie with each other: the order of the rest is free.
        return Pairs(truth_K, point_K), torch.cat((value_K, iou_G[truth_G] + 2.0))


def _threshold(iou_GN: Tensor, exists_GN: Tensor) -> Tensor:
    """Mean plus unbiased standard deviation over the candidates that exist, (G,)."""
    # In float64, so that candidates of equal IoU reach their own mean.
    iou_GN, exists_GN = iou_GN.double(), exists_GN.double()
    count_G = exists_GN.sum(1)
    mean_G = (iou_GN * exists_GN).sum(1) / count_G
    variance_G = ((iou_GN - mean_G[:, None]).square() * exists_GN).sum(1) / (count_G - 1).clamp(min=1)
    return mean_G + variance_G.sqrt()
