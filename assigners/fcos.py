"""FCOS's own assignment (arXiv 1904.01355, section 3.2; centre sampling as in 2006.09214, section 3.3).

Shape legend: P points of L levels, G truths, M candidate pairs, K positives.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from .core.boxes import area, take
from .core.pairs import assignment, exact
from .core.quality import central_pairs
from .core.ranking import best_per_cell
from .core.types import Assigner, Assignment, GroundTruth, PointGrid, Predictions


class FCOS(Assigner):
    """The points near the middle of each truth, on the level that is made for its size.

    Args:
        center_radius: half side of the centre square in strides; None takes all points inside the truth.
        reach: a level is for truths whose farthest side is at most `reach` x stride away from the point,
            and farther than the level below it can reach; the first level has no lower limit and the last
            no upper one. 8 gives the paper's 64, 128, 256 and 512 px for strides 8 to 128.
    """

    def __init__(self, center_radius: float | None = 1.5, reach: float = 8.0) -> None:
        if center_radius is not None and center_radius <= 0:
            raise ValueError(f"center_radius must be above 0, or None, got {center_radius}")
        if reach <= 0:
            raise ValueError(f"reach must be above 0, got {reach}")
        self.center_radius, self.reach = center_radius, reach

    @exact
    def __call__(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
    ) -> Assignment:
        """The positives of a batch; predictions and `progress` are ignored."""
        boxes_G4 = truth.boxes_G4.float()
        # 1. Candidates: the centre square, clipped to the truth, or all of the truth.
        pairs = central_pairs(grid, boxes_G4, torch.inf if self.center_radius is None else self.center_radius)
        # 2. How far the point would have to reach.
        center_M2, box_M4 = take(grid.centers_P2, pairs.point_M), take(boxes_G4, pairs.truth_M)
        distance_M = torch.cat((center_M2 - box_M4[:, :2], box_M4[:, 2:] - center_M2), 1).amax(1)
        # 3. Positive is what its level is made for; both limits are included.
        lower_L, upper_L = _limits(grid.strides, self.reach, str(distance_M.device))
        level_M = grid.level_of(pairs.point_M)
        row_K = ((distance_M >= lower_L[level_M]) & (distance_M <= upper_L[level_M])).nonzero().squeeze(1)
        # 4. A contested point goes to the smallest truth.
        cell_M = pairs.cells(truth, len(grid))
        row_K = row_K[best_per_cell(cell_M[row_K], -area(box_M4[row_K]), predictions.cells)]
        # 5. Target.
        one_K = torch.ones_like(row_K, dtype=torch.float32)
        return assignment(pairs[row_K], truth, one_K, one_K)


@lru_cache(maxsize=16)
def _limits(strides: tuple[int, ...], reach: float, device: str) -> Tensor:
    """The least and the largest distance of each level, (2, L)."""
    lower = [reach * max((s for s in strides if s < own), default=0) for own in strides]
    upper = [reach * own if own < max(strides) else torch.inf for own in strides]
    with torch.inference_mode(False):
        return torch.tensor((lower, upper), device=device)
