"""Local maxima: the NMS-free selection for detectors that score several points of an object high.

Shape legend: B images, P points of all levels, C classes, H and W rows and columns of a level, M (image,
point, class), S rows or columns of points around one of them, N rows or columns of a window.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from assigners.core.types import PointGrid
from detector.criterion import target_centerness
from detector.decode import Decoded


def keep_peaks(predictions: Decoded, grid: PointGrid) -> Decoded:
    """The same predictions with a score of 0 for all but one point around each local maximum of a class.

    A window is `predictions.peak_window` x `predictions.peak_window` points of one level; without a window
    nothing changes. A local maximum is a point that ranks highest in the window around it, by its score times
    its centerness in the box that it predicts itself: neighbours of one object have nearly equal scores and
    boxes, and the box says which of them is nearest to its centre, so an object mostly has one maximum. The
    point that stays is the one with the highest score in the maximum's window: its box is the better one
    (docs/gap.md).

    These are three max poolings per level (CenterNet, arXiv 1904.07850, section 4, has one, for its heat
    map): the cost does not depend on the number of detections, and no boxes are compared. Of two objects of
    one class whose best points lie within one window, one is lost. Equal points both stay.
    """
    window = predictions.peak_window
    if window is None:
        return predictions
    centerness_BP = target_centerness(grid.centers_P2, predictions.boxes_BP4)
    rank_BPC = predictions.scores_BPC * centerness_BP.unsqueeze(-1)
    kept = []
    for part, shape in zip(grid.level_slices, grid.shapes, strict=True):
        # Channels last: on a CPU, pooling 80 classes of one image takes a ninth of the time.
        scores_BCHW, rank_BCHW = (
            values_BPC[:, part].contiguous().unflatten(1, shape).permute(0, 3, 1, 2)
            for values_BPC in (predictions.scores_BPC, rank_BPC)
        )
        lower_BCHW = rank_BCHW < _highest(rank_BCHW, window)
        best_BCHW = torch.where(lower_BCHW, math.inf, _highest(scores_BCHW, window))
        # No point scores above the best of a window that it lies in; equal scores: it is the best.
        lowest_BCHW = -_highest(-best_BCHW, window)
        kept_BCHW = torch.where(scores_BCHW < lowest_BCHW, 0.0, scores_BCHW)
        kept.append(kept_BCHW.permute(0, 2, 3, 1).flatten(1, 2))
    return replace(predictions, scores_BPC=torch.cat(kept, dim=1))


def are_peaks(
    predictions: Decoded, grid: PointGrid, image_M: Tensor, point_M: Tensor, label_M: Tensor
) -> Tensor:
    """Whether `keep_peaks` leaves the score of each given point and class, bool_M.

    It reads the points around these alone, which takes a tenth of the time where few of 80 classes pass the
    score threshold. What exporters trace needs sizes that do not depend on values: `keep_peaks`.
    """
    window = predictions.peak_window
    if window is None:
        return torch.ones_like(image_M, dtype=torch.bool)
    # The windows around the points of a window reach this far.
    shift_S = torch.arange(1 - window, window, device=point_M.device)
    level_M = grid.level_of(point_M)
    columns_M1, rows_M1 = grid.size_L2[level_M].split(1, dim=1)
    own_M1 = (point_M - grid.start_L[level_M]).unsqueeze(1)
    y_MS, x_MS = own_M1 // columns_M1 + shift_S, own_M1 % columns_M1 + shift_S
    inside_MSS = _within(y_MS, rows_M1).unsqueeze(2) & _within(x_MS, columns_M1).unsqueeze(1)
    moved_MSS = (y_MS * columns_M1).unsqueeze(2) + x_MS.unsqueeze(1) - own_M1.unsqueeze(2)
    image_M11, label_M11 = image_M[:, None, None], label_M[:, None, None]
    near_MSS = torch.where(inside_MSS, point_M[:, None, None] + moved_MSS, point_M[:, None, None])
    scores_MSS = predictions.scores_BPC[image_M11, near_MSS, label_M11]
    centerness_BP = target_centerness(grid.centers_P2, predictions.boxes_BP4)
    rank_MSS = scores_MSS * centerness_BP[image_M11, near_MSS]
    rank_M1SS = rank_MSS.masked_fill(~inside_MSS, -math.inf).unsqueeze(1)
    scores_M1SS = scores_MSS.masked_fill(~inside_MSS, -math.inf).unsqueeze(1)
    half = window // 2
    middle = slice(half, half + window)
    maximum_M1NN = rank_M1SS[..., middle, middle] >= max_pool2d(rank_M1SS, window, stride=1)
    own_M111 = scores_M1SS[..., window - 1, None, window - 1, None]
    best_M1NN = own_M111 >= max_pool2d(scores_M1SS, window, stride=1)
    return (maximum_M1NN & best_M1NN).flatten(1).any(dim=1)


def _within(place_MS: Tensor, count_M1: Tensor) -> Tensor:
    return (place_MS >= 0) & (place_MS < count_M1)


def _highest(values_BCHW: Tensor, window: int) -> Tensor:
    """Of each point, the highest value in the window around it."""
    return max_pool2d(values_BCHW, window, stride=1, padding=window // 2)
