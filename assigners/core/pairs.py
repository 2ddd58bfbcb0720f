"""What all assigners share: candidate pairs, what is predicted for them, and the assignment made of them.

A point can be positive only for a truth that it lies in or near, and the points form regular grids, so the
candidates are index ranges: the cost of listing them grows with their number, not with truths x points.

Shape legend:
    B images, P points of all L levels, G truths of the batch, M candidate pairs (truth, point), sorted by
    truth and then by point; N rectangles (truth, level), S their rows of cells; K chosen rows of the M.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from .boxes import iou_of_rows, take, usable
from .types import Assignment, GroundTruth, PointGrid, Predictions


@dataclass(frozen=True)
class Pairs:
    """Pairs of truth_M and point_M, int64; candidates are sorted by truth and then by point."""

    truth_M: Tensor
    point_M: Tensor

    def __getitem__(self, rows: Tensor) -> Pairs:
        return Pairs(self.truth_M.index_select(0, rows), self.point_M.index_select(0, rows))

    def cells(self, truth: GroundTruth, points: int) -> Tensor:
        """image x P + point: one number for a point of the batch, (M,) int64."""
        return (truth.image_G * points).index_select(0, self.truth_M).add_(self.point_M)


def exact(call: Callable[..., Assignment]) -> Callable[..., Assignment]:
    """Runs an assigner without gradient and with autocast off: assignment decides, so it is float32."""

    @wraps(call)
    def run(self: Any, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0):  # type: ignore[no-untyped-def]
        device = predictions.scores_BPC.device.type
        with torch.no_grad(), torch.autocast(device, enabled=False):
            return call(self, grid, predictions, truth, progress)

    return run


def points_within(grid: PointGrid, low_GL2: Tensor, high_GL2: Tensor, boxes_G4: Tensor) -> Pairs:
    """All points strictly inside one rectangle per truth and level.

    Args:
        low_GL2, high_GL2: the corners in pixels; G x 1 where one rectangle serves all levels.
        boxes_G4: the truths; an unusable one (NaN, empty, outside the image) has no points.
    """
    return points_above(grid, torch.cat((low_GL2, -high_GL2), -1), boxes_G4)


def points_above(grid: PointGrid, corner_GL4: Tensor, boxes_G4: Tensor) -> Pairs:
    """The same for rectangles given by their lowest x, y, -x and -y: x < high is -x > -high."""
    # So the last cell is the first one of the negated axis, and one search finds both.
    stride_L1 = grid.stride_L[:, None]
    # Rounding of the division may miss the boundary by one unit in the last place, so start a little early
    # and let the exact comparison of the point itself decide.
    cell_GL4 = (corner_GL4 / stride_L1 - grid.early_4).ceil_().clamp_(*grid.cell_limits_2L4)
    cell_GL4 += (cell_GL4 + grid.offset_4) * stride_L1 <= corner_GL4
    cell_GL4 = cell_GL4.long()
    first_GL2 = cell_GL4[..., :2]
    count_GL2 = (1 - first_GL2).sub_(cell_GL4[..., 2:]).clamp_(min=0)
    return _expand(grid, first_GL2, count_GL2.mul_(usable(boxes_G4, grid)[:, None, None]))


def _expand(grid: PointGrid, first_GL2: Tensor, count_GL2: Tensor) -> Pairs:
    """The pairs of rectangles of cells, given by their first column and row and their extent."""
    levels, device = len(grid.strides), count_GL2.device
    columns_GL, rows_GL = count_GL2.unbind(-1)
    width_GL = grid.size_L2[:, 0].expand_as(rows_GL)
    begin_GL = (rows_GL.flatten().cumsum(0) - rows_GL.flatten()).view_as(rows_GL)
    # First every rectangle becomes its rows, then every row its points: no division to take an index apart.
    point_GL = torch.addcmul(grid.start_L, first_GL2[..., 1], width_GL).add_(first_GL2[..., 0])
    point_GL.addcmul_(begin_GL, width_GL, value=-1)  # less the rows of the rectangles before
    totals_2 = torch.stack((rows_GL, rows_GL * columns_GL)).sum((1, 2))
    rows, points = totals_2.tolist()  # both sizes in one read
    rectangle_S = torch.repeat_interleave(rows_GL.flatten(), output_size=rows)
    table_N3 = torch.stack((point_GL, width_GL, columns_GL), -1).flatten(0, 1)
    point_S, width_S, columns_S = table_N3.index_select(0, rectangle_S).unbind(1)
    shift_S = torch.addcmul(point_S, width_S, torch.arange(rows, device=device)).add_(columns_S)
    shift_S -= columns_S.cumsum(0)
    row_M = torch.repeat_interleave(columns_S, output_size=points)
    point_M = shift_S.index_select(0, row_M).add_(torch.arange(points, device=device))
    return Pairs((rectangle_S // levels).index_select(0, row_M), point_M)


def points_inside(grid: PointGrid, boxes_G4: Tensor) -> Pairs:
    """All points strictly inside each truth."""
    return points_within(grid, boxes_G4[:, None, :2], boxes_G4[:, None, 2:], boxes_G4)


def corners(grid: PointGrid, boxes_G4: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """The lowest x, y, -x and -y of the truths, (G, 1, 4), and of the squares around their centres.

    The squares (G, L, 4) have a half side of radius x stride.
    """
    box_G4 = boxes_G4 * grid.sign_4
    center_G4 = box_G4.sub(box_G4.roll(2, 1)).mul_(0.5)
    return box_G4[:, None], center_G4[:, None] - radius * grid.stride_L[:, None]


def predicted(
    pairs: Pairs, cell_M: Tensor, predictions: Predictions, truth: GroundTruth
) -> tuple[Tensor, Tensor]:
    """The probability p_M of the truth's class and the predicted boxes (M, 4) of the pairs, float32."""
    boxes_M4 = take(predictions.boxes_BP4.reshape(-1, 4), cell_M)
    return _predicted_class(pairs, cell_M, predictions, truth), boxes_M4.float()


def predicted_iou(
    pairs: Pairs, cell_M: Tensor, predictions: Predictions, truth: GroundTruth
) -> tuple[Tensor, Tensor]:
    """The probability p_M of the truth's class and the IoU of the predicted box with the truth, float32."""
    boxes_P4 = predictions.boxes_BP4.reshape(-1, 4).float()
    iou_M = iou_of_rows(boxes_P4, truth.boxes_G4.float(), cell_M, pairs.truth_M)
    return _predicted_class(pairs, cell_M, predictions, truth), iou_M


def _predicted_class(pairs: Pairs, cell_M: Tensor, predictions: Predictions, truth: GroundTruth) -> Tensor:
    # index_select on flat views takes half the time of indexing by several tensors.
    entry_M = cell_M * predictions.scores_BPC.shape[2]
    entry_M.add_(truth.labels_G.index_select(0, pairs.truth_M))
    return probability(predictions.scores_BPC.reshape(-1).index_select(0, entry_M))


def probability(score: Tensor) -> Tensor:
    """Scores as float32 in [0, 1]; what is not finite is no probability and counts as 0."""
    return score.float().nan_to_num(0.0, posinf=0.0, neginf=0.0).clamp_(0.0, 1.0)


def assignment(
    pairs: Pairs, truth: GroundTruth, score_K: Tensor, weight_K: Tensor, certain_K: Tensor | None = None
) -> Assignment:
    """The pairs of the positives, which must be sorted by cell, with their targets."""
    image_K = truth.image_G[pairs.truth_M]
    return Assignment(image_K, pairs.point_M, pairs.truth_M, score_K, weight_K, certain_K=certain_K)
