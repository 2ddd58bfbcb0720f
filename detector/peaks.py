"""Local maxima: the NMS-free selection for detectors that score several points of an object high.

Shape legend: B images, P points of all levels, C classes, H and W rows and columns of a level.
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


def keep_peaks(predictions: Decoded, grid: PointGrid) -> Decoded:
    """The same predictions with a score of 0 where a neighbouring point ranks higher for the same class.

    Neighbours are the points of the same level in a window of `predictions.peaks.window` points, of which,
    with `predictions.peaks.iou`, only those count whose boxes overlap by more. A point ranks by its score
    times the root of its centerness in the box that it predicts itself: neighbours of one object have nearly
    equal scores and boxes, and the box says which of them is nearest to its centre. The scores that stay do
    not change. Equal ranks both stay.

    Without an IoU this is one max pooling per level (CenterNet, arXiv 1904.07850, section 4, for its heat
    map), in which of two objects of one class whose best points lie within one window the lower-ranking one
    is lost. With it, it is NMS among neighbours alone: no order, so that a point may yield to one that yields
    itself, and a cost that the number of detections does not change.
    """
    peaks = predictions.peaks
    if peaks is None:
        return predictions
    centerness_BP = target_centerness(grid.centers_P2, predictions.boxes_BP4)
    rank_BPC = predictions.scores_BPC * centerness_BP.sqrt().unsqueeze(-1)
    if peaks.iou is None:
        lower_BPC = rank_BPC < _highest(rank_BPC, grid, peaks.window)
    else:
        lower_BPC = torch.zeros_like(rank_BPC, dtype=torch.bool)
        for other_P in _neighbours(grid, peaks.window):
            close_BP = iou(predictions.boxes_BP4[:, other_P], predictions.boxes_BP4) > peaks.iou
            lower_BPC = lower_BPC | ((rank_BPC[:, other_P] > rank_BPC) & close_BP.unsqueeze(-1))
    return replace(predictions, scores_BPC=predictions.scores_BPC.masked_fill(lower_BPC, 0.0))


def _highest(rank_BPC: Tensor, grid: PointGrid, window: int) -> Tensor:
    """The highest rank in the window around each point, (B, P, C)."""
    highest = []
    for part, shape in zip(grid.level_slices, grid.shapes, strict=True):
        rank_BCHW = rank_BPC[:, part].transpose(1, 2).unflatten(2, shape)
        pooled_BCHW = max_pool2d(rank_BCHW, window, stride=1, padding=window // 2)
        highest.append(pooled_BCHW.flatten(2).transpose(1, 2))
    return torch.cat(highest, dim=1)


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
