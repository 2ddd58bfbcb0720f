"""Local maxima: the NMS-free selection for detectors that score several points of an object high.

Shape legend: B images, P points of all levels, U some of them, C classes, H and W the sides of a level.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from assigners.core.boxes import iou
from assigners.core.types import PointGrid
from detector.criterion import target_centerness
from detector.decode import Decoded

PASSES = 3  # a fourth changes AP by less than 0.1 (docs/gap.md)


def keep_peaks(predictions: Decoded, grid: PointGrid) -> Decoded:
    """The same predictions with a score of 0 where a neighbouring point ranks higher for the same class.

    Neighbours are the points of the same level in a window of `predictions.peaks.window` points. Without
    `predictions.peaks.iou` a point ranks by its score times the root of its centerness in the box that it
    predicts itself: neighbours of one object have nearly equal scores and boxes, and the box says which of
    them is nearest to its centre. This is one max pooling per level (CenterNet, arXiv 1904.07850, section 4,
    for its heat map). No boxes are compared: of two objects of one class whose best points lie within one
    window the lower-ranking one is lost.

    With an IoU a point ranks by its score, and yields only to neighbours whose boxes overlap by more. Each of
    three passes lets it yield to those that were left by the pass before (Cluster-NMS, arXiv 2005.03572):
    NMS among neighbours, without order and at a cost that the number of detections does not change.

    The scores that stay do not change. Equal ranks both stay.
    """
    peaks = predictions.peaks
    if peaks is None:
        return predictions
    if peaks.iou is None:
        centerness_BP = target_centerness(grid.centers_P2, predictions.boxes_BP4)
        rank_BPC = predictions.scores_BPC * centerness_BP.sqrt().unsqueeze(-1)
        lower_BPC = rank_BPC < _highest(rank_BPC, grid, peaks.window)
        return replace(predictions, scores_BPC=predictions.scores_BPC.masked_fill(lower_BPC, 0.0))
    others = _neighbours(grid, peaks.window)
    left_BPC = _left(predictions.scores_BPC, predictions.boxes_BP4, others, peaks.iou)
    return replace(predictions, scores_BPC=left_BPC)


def peaks_above(predictions: Decoded, grid: PointGrid, score_threshold: float) -> Decoded:
    """As `keep_peaks` for all pairs that the threshold lets pass; on a CPU at the cost of their points alone.

    Nothing else can make them yield: what does scores higher. A GPU would wait to learn which points these
    are, and computes all of them sooner.
    """
    peaks, scores_BPC = predictions.peaks, predictions.scores_BPC
    if peaks is None or peaks.iou is None or scores_BPC.device.type != "cpu":
        return keep_peaks(predictions, grid)
    least = scores_BPC.new_tensor(score_threshold)
    if predictions.quality_BP is not None and predictions.quality_BP.numel():
        least = least * predictions.quality_BP.min()
    image_U, point_U = (scores_BPC.amax(dim=2) > least).nonzero(as_tuple=True)
    row_U = torch.arange(len(point_U), device=point_U.device)
    row_BP = torch.full(scores_BPC.shape[:2], -1, device=point_U.device)
    row_BP[image_U, point_U] = row_U
    others = []
    for other_P in _neighbours(grid, peaks.window):
        other_U = row_BP[image_U, other_P[point_U]]
        others.append(torch.where(other_U < 0, row_U, other_U))
    scores_UC, boxes_U4 = scores_BPC[image_U, point_U], predictions.boxes_BP4[image_U, point_U]
    left_BPC = torch.zeros_like(scores_BPC)
    left_BPC[image_U, point_U] = _left(scores_UC, boxes_U4, others, peaks.iou)
    return replace(predictions, scores_BPC=left_BPC)


def _highest(rank_BPC: Tensor, grid: PointGrid, window: int) -> Tensor:
    """The highest rank in the window around each point, (B, P, C)."""
    highest = []
    for part, shape in zip(grid.level_slices, grid.shapes, strict=True):
        rank_BCHW = rank_BPC[:, part].transpose(1, 2).unflatten(2, shape)
        pooled_BCHW = max_pool2d(rank_BCHW, window, stride=1, padding=window // 2)
        highest.append(pooled_BCHW.flatten(2).transpose(1, 2))
    return torch.cat(highest, dim=1)


def _left(scores_UC: Tensor, boxes_U4: Tensor, others: list[Tensor], least_iou: float) -> Tensor:
    """The scores, 0 where a higher one is left among the others whose box overlaps by more than `least_iou`.

    Args:
        scores_UC, boxes_U4: of points; both may have a batch dimension in front.
        others: for each place in the window the row of every point's neighbour there, (U,), or its own.
    """
    close = [(iou(boxes_U4[..., other_U, :], boxes_U4) > least_iou).unsqueeze(-1) for other_U in others]
    left_UC = scores_UC
    for _ in range(PASSES):
        lower_UC = torch.zeros_like(scores_UC, dtype=torch.bool)
        for other_U, close_U1 in zip(others, close, strict=True):
            lower_UC = lower_UC | ((left_UC[..., other_U, :] > scores_UC) & close_U1)
        left_UC = scores_UC.masked_fill(lower_UC, 0.0)
    return left_UC


def _neighbours(grid: PointGrid, window: int) -> list[Tensor]:
    """For each other place in the window every point's neighbour there, (P,), or itself if there is none."""
    reach = window // 2
    point_P = torch.arange(grid.centers_P2.shape[0], device=grid.centers_P2.device)
    around = [  # -1 outside the level; by slices, which exporters can trace for any size
        pad(point_P[part].unflatten(0, shape), (reach,) * 4, value=-1)
        for part, shape in zip(grid.level_slices, grid.shapes, strict=True)
    ]
    found = []
    for down, right in product(range(window), repeat=2):
        if down == right == reach:
            continue
        other_P = torch.cat(
            [
                level[down : down + height, right : right + width].flatten()
                for level, (height, width) in zip(around, grid.shapes, strict=True)
            ]
        )
        found.append(torch.where(other_P < 0, point_P, other_P))
    return found
