"""Local maxima: the NMS-free selection for detectors that score several points of an object high.

Shape legend: B images, P points of all levels, C classes, H and W rows and columns of a level, M (image,
point, class), S rows or columns of points around one of them, N points of one level.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

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
    scores_BPC = predictions.scores_BPC
    rank_BPC = scores_BPC * _centerness(predictions, grid).unsqueeze(-1)
    kept = []
    for part, shape in zip(grid.level_slices, grid.shapes, strict=True):
        # Channels last: on a CPU, pooling 80 classes of one image takes a ninth of the time.
        scores_BCHW, rank_BCHW = (
            pad(
                values_BPC[:, part].contiguous().unflatten(1, shape).permute(0, 3, 1, 2),
                [window - 1] * 4,
                value=-math.inf,
            )
            for values_BPC in (scores_BPC, rank_BPC)
        )
        stays_BNC = _stays(scores_BCHW, rank_BCHW, window).permute(0, 2, 3, 1).flatten(1, 2)
        kept.append(torch.where(stays_BNC, scores_BPC[:, part], 0.0))
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
    rank_MSS = scores_MSS * _centerness(predictions, grid)[image_M11, near_MSS]
    scores_M1SS, rank_M1SS = (
        values_MSS.masked_fill(~inside_MSS, -math.inf).unsqueeze(1) for values_MSS in (scores_MSS, rank_MSS)
    )
    return _stays(scores_M1SS, rank_M1SS, window).flatten()


def _stays(scores_BCHW: Tensor, rank_BCHW: Tensor, window: int) -> Tensor:
    """Which points stay, of maps with `window - 1` rows and columns more on each side: neighbours alone.

    -inf stands where there is no point.
    """
    maximum_BCHW = _inner(rank_BCHW, window) >= max_pool2d(rank_BCHW, window, stride=1)
    best_BCHW = torch.where(maximum_BCHW, max_pool2d(scores_BCHW, window, stride=1), math.inf)
    # No point scores above the best of a window that it lies in; equal scores: it is the best.
    lowest_BCHW = -max_pool2d(-best_BCHW, window, stride=1)
    return _inner(_inner(scores_BCHW, window), window) >= lowest_BCHW


def _inner(map_BCHW: Tensor, window: int) -> Tensor:
    """Without the points whose window is cut off."""
    half = window // 2
    return map_BCHW[..., half:-half, half:-half]


def _centerness(predictions: Decoded, grid: PointGrid) -> Tensor:
    """Of each point in the box that it predicts itself, (B, P)."""
    return target_centerness(grid.centers_P2, predictions.boxes_BP4)


def _within(place_MS: Tensor, count_M1: Tensor) -> Tensor:
    return (place_MS >= 0) & (place_MS < count_M1)
