"""Dual weighting (DW; arXiv 2203.09730, section 3): a positive and a negative weight for each point.

Shape legend: G truths, M candidate pairs, K positives.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .core.boxes import giou, iou, take
from .core.pairs import Pairs, assignment, exact, points_inside, predicted
from .core.ranking import best_per_cell, counts
from .core.types import Assigner, Assignment, GroundTruth, PointGrid, Predictions

SMALLEST = 1e-12
HALF = 0.5  # the IoU below which a point is negative beyond doubt


class DualWeighting(Assigner):
    """Every point inside a truth, weighted twice: how far it is a positive and how far it is background.

    The positive weight grows with the consistency u = p x exp(-loss_scale x (1 - GIoU)). The negative weight
    is the probability, by the IoU of the point's box, that it is a false one; it weighs the background term
    of the truth's class, whose loss has the other factor, p^2.

    A point inside several truths belongs to the one for which it has the largest positive weight. (In the
    paper it is weighted for each of them, which an assignment of one truth per point cannot say.)

    Args:
        sharpness: mu of the positive weight exp(mu x u) x u x prior.
        normalizer: mu of the sum over the truth's points that divides it.
        loss_scale: exponent of the box loss in u.
        sigma: standard deviation of the Gaussian centre prior, in strides.
    """

    def __init__(
        self,
        sharpness: float = 5.0,
        normalizer: float = 3.0,
        loss_scale: float = 5.0,
        sigma: float = 1.11,
    ) -> None:
        if sigma <= 0 or loss_scale <= 0:
            raise ValueError(f"sigma and loss_scale must be above 0, got {sigma} and {loss_scale}")
        self.sharpness, self.normalizer = sharpness, normalizer
        self.loss_scale, self.sigma = loss_scale, sigma

    @exact
    def __call__(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
    ) -> Assignment:
        """The positives of a batch; `progress` is ignored."""
        # 1. Candidates: the points inside the truth.
        boxes_G4 = truth.boxes_G4.float()
        pairs = points_inside(grid, boxes_G4)
        cell_M = pairs.cells(truth, len(grid))
        p_M, boxes_M4 = predicted(pairs, cell_M, predictions, truth)
        truth_M4 = take(boxes_G4, pairs.truth_M)
        # 2. The positive weight, in float64: float32's exponential rounds otherwise at the end of a tensor,
        # and equal truths must stay exact ties.
        u_M = p_M * (self.loss_scale * (giou(boxes_M4, truth_M4).double() - 1)).exp()
        share_M = u_M * self._prior(grid, pairs, truth_M4)
        sum_G = _sum_per_truth((self.normalizer * u_M).exp() * share_M, pairs.truth_M, len(truth))
        weight_M = (self.sharpness * u_M).exp() * share_M / sum_G.clamp(min=SMALLEST)[pairs.truth_M]
        weight_M = weight_M.float()
        # 3. The negative weight.
        negative_M = _negative_weight(iou(boxes_M4, truth_M4), pairs.truth_M, len(truth))
        # 4. A contested point goes to the largest positive weight.
        row_K = best_per_cell(cell_M, weight_M, predictions.cells)
        # 5. Targets. No weight is 0: a point far from the centre keeps a negative weight of its own, too.
        weight_K = weight_M[row_K].clamp(min=torch.finfo(torch.float32).tiny)
        positives = assignment(pairs[row_K], truth, torch.ones_like(weight_K), weight_K)
        return replace(
            positives, image_N=positives.image_K, point_N=positives.point_K, weight_N=negative_M[row_K]
        )

    def _prior(self, grid: PointGrid, pairs: Pairs, truth_M4: Tensor) -> Tensor:
        """exp(-d^2 / (2 sigma^2)), (M,) float64; d is the distance from the truth's centre in strides."""
        offset_M2 = take(grid.centers_P2, pairs.point_M) - (truth_M4[:, :2] + truth_M4[:, 2:]) * 0.5
        square_M = offset_M2.double().square().sum(1) / grid.stride_P[pairs.point_M].square()
        return (square_M / (-2 * self.sigma**2)).exp()


def _negative_weight(iou_M: Tensor, truth_M: Tensor, truths: int) -> Tensor:
    """1 for an IoU below 0.5, else 1 - IoU^2, stretched so that a truth's best point has 0, (M,)."""
    falling_M = (1 - iou_M.square()) / (1 - HALF**2)
    least_G = falling_M.new_full((truths,), torch.inf).scatter_reduce(0, truth_M, falling_M, "amin")
    most_G = falling_M.new_zeros(truths).scatter_reduce(0, truth_M, falling_M, "amax").clamp(max=1.0)
    least_M = least_G[truth_M]
    stretched_M = (falling_M - least_M + SMALLEST) / (most_G[truth_M] - least_M + SMALLEST)
    return torch.where(iou_M < HALF, 1.0, stretched_M)


def _sum_per_truth(value_M: Tensor, truth_M: Tensor, truths: int) -> Tensor:
    """The sum of each truth's rows (G,), added up in their order, so that every run rounds alike."""
    count_G = counts(truth_M, truths)
    return torch.segment_reduce(value_M, "sum", lengths=count_G, unsafe=True)
