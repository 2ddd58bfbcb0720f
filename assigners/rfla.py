"""Assignment by Gaussian receptive fields, for tiny objects (RFLA; arXiv 2208.08738, section 3).

Shape legend: G truths, L levels, M candidate pairs, K positives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .core.boxes import take, usable
from .core.pairs import Pairs, assignment, exact, points_within
from .core.ranking import best_per_cell, top_per_truth
from .core.types import Assigner, Assignment, GroundTruth, PointGrid, Predictions

# Side in pixels of the theoretical receptive field of a point of ResNet-50 with FPN, by stride.
RESNET50 = {4: 35, 8: 91, 16: 267, 32: 427, 64: 555, 128: 811}


class RFLA(Assigner):
    """The points whose receptive fields are nearest to the truth, both seen as Gaussians.

    A distance of Gaussians orders points even where an anchor contains the truth whole or no point lies
    inside it, so that no truth is too small for a positive.

    Args:
        topk: nearest points per truth, of all levels together.
        extra: then so many nearest points with smaller receptive fields, as far as these are not positive.
        ratio: how much smaller.
        fraction: the effective receptive field's share of the theoretical one.
        field: side of the theoretical receptive field in strides; None for ResNet-50's with FPN, which has
            strides 4 to 128.
    """

    def __init__(
        self,
        topk: int = 3,
        extra: int = 1,
        ratio: float = 0.9,
        fraction: float = 0.5,
        field: float | None = None,
    ) -> None:
        if topk < 1 or extra < 0:
            raise ValueError(f"topk must be at least 1 and extra at least 0, got {topk} and {extra}")
        if min(ratio, fraction, 1.0 if field is None else field) <= 0:
            raise ValueError(f"ratio, fraction and field must be above 0, got {ratio}, {fraction}, {field}")
        self.topk, self.extra, self.ratio, self.fraction, self.field = topk, extra, ratio, fraction, field

    @exact
    def __call__(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
    ) -> Assignment:
        """The positives of a batch; predictions and `progress` are ignored.

        Raises:
            ValueError: if `field` is None and the grid has a stride that ResNet-50's pyramid has not.
        """
        boxes_G4 = truth.boxes_G4.float()
        boxes_G4 = torch.where(usable(boxes_G4, grid)[:, None], boxes_G4, 0.0)
        # 1. Candidates: all points that can be among the nearest of their level.
        pairs = _around(grid, boxes_G4, max(self.topk, self.extra))
        cell_M = pairs.cells(truth, len(grid))
        # 2. How near the fields are; 3. the nearest of each truth; 4. a contested point goes to the nearest.
        side_P = self._fields(grid)
        near_M = -_divergence(grid, side_P, pairs, boxes_G4)
        row_K = top_per_truth(pairs, near_M, self.topk, len(truth))
        row_K = row_K[best_per_cell(cell_M[row_K], near_M[row_K], predictions.cells)]
        if self.extra:
            # 3. and 4. again, for points that are still free.
            near_M = -_divergence(grid, side_P * self.ratio, pairs, boxes_G4)
            more_K = top_per_truth(pairs, near_M, self.extra, len(truth))
            more_K = more_K[best_per_cell(cell_M[more_K], near_M[more_K], predictions.cells)]
            more_K = more_K[~torch.isin(cell_M[more_K], cell_M[row_K])]
            row_K = torch.cat((row_K, more_K))
            row_K = row_K[cell_M[row_K].argsort()]
        # 5. Target.
        one_K = torch.ones_like(row_K, dtype=torch.float32)
        return assignment(pairs[row_K], truth, one_K, one_K)

    def _fields(self, grid: PointGrid) -> Tensor:
        """The side of each point's effective receptive field in pixels, (P,)."""
        if self.field is not None:
            return grid.stride_P * (self.field * self.fraction)
        unknown = [stride for stride in grid.strides if stride not in RESNET50]
        if unknown:
            raise ValueError(f"the receptive field of stride {unknown[0]} is not known: set `field`")
        side_L = [RESNET50[stride] * self.fraction for stride in grid.strides]
        rows = [part.stop - part.start for part in grid.level_slices]
        parts = [grid.stride_P.new_full((n,), side) for n, side in zip(rows, side_L, strict=True)]
        return torch.cat(parts)


def _divergence(grid: PointGrid, side_P: Tensor, pairs: Pairs, boxes_G4: Tensor) -> Tensor:
    """The Kullback-Leibler divergence of the point's Gaussian from the truth's (equation 6), (M,).

    A box stands for the normal distribution around its centre whose standard deviations are half its sides.
    """
    box_M4, side_M1 = take(boxes_G4, pairs.truth_M), side_P[pairs.point_M, None]
    truth_M2 = box_M4[:, 2:] - box_M4[:, :2]
    offset_M2 = take(grid.centers_P2, pairs.point_M) - (box_M4[:, :2] + box_M4[:, 2:]) * 0.5
    # In float64: float32's logarithm rounds otherwise at the end of a tensor; equal truths must stay ties.
    ratio_M2 = (side_M1 / truth_M2).double().square()
    return 0.5 * (ratio_M2 + (2 * offset_M2 / truth_M2).square() - ratio_M2.log() - 1).sum(1).float()


def _around(grid: PointGrid, boxes_G4: Tensor, k: int) -> Pairs:
    """The points of each level at most k - 1 columns and rows from the one nearest to the truth's centre.

    Those hold the k nearest by any measure that grows with the distance along each axis: between a chosen
    point and the nearest one all others are at least as near.
    """
    center_G12 = ((boxes_G4[:, :2] + boxes_G4[:, 2:]) * 0.5)[:, None]
    stride_L1 = grid.stride_L[:, None]
    cell_GL2 = (center_G12 / stride_L1 - grid.offset).round().clamp(min=0)
    cell_GL2 = cell_GL2.minimum((grid.size_L2 - 1).float())
    nearest_GL2 = (cell_GL2 + grid.offset) * stride_L1
    half_L1 = (k - 0.5) * stride_L1
    return points_within(grid, nearest_GL2 - half_L1, nearest_GL2 + half_L1, boxes_G4)
