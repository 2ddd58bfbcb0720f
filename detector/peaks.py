"""Local maxima: the NMS-free selection for detectors that score several points of an object high.

Shape legend: B images, P points of all levels, C classes, H and W rows and columns of a level.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn.functional import max_pool2d

from assigners.core.types import PointGrid
from detector.criterion import target_centerness
from detector.decode import Decoded


def keep_peaks(predictions: Decoded, grid: PointGrid) -> Decoded:
    """The same predictions with a score of 0 where a neighbouring point ranks higher for the same class.

    Neighbours are the points of the same level in `predictions.peak_window` x `predictions.peak_window`
    points; without a window nothing changes. A point ranks by its score times its centerness in the box
    that it predicts itself: neighbours of one object have nearly equal scores and boxes, and the box
    says which of them is nearest to its centre. The scores that stay do not change.

    It is one max pooling per level (CenterNet, arXiv 1904.07850, section 4, for its heat map): the cost does
    not depend on the number of detections, and no boxes are compared. Of two objects of one class whose best
    points lie within one window, the lower-ranking one is lost. Equal ranks both stay.
    """
    window = predictions.peak_window
    if window is None:
        return predictions
    centerness_BP = target_centerness(grid.centers_P2, predictions.boxes_BP4)
    rank_BPC = predictions.scores_BPC * centerness_BP.unsqueeze(-1)
    highest = []
    for part, shape in zip(grid.level_slices, grid.shapes, strict=True):
        rank_BCHW = rank_BPC[:, part].transpose(1, 2).unflatten(2, shape)
        pooled_BCHW = max_pool2d(rank_BCHW, window, stride=1, padding=window // 2)
        highest.append(pooled_BCHW.flatten(2).transpose(1, 2))
    lower_BPC = rank_BPC < torch.cat(highest, dim=1)
    return replace(predictions, scores_BPC=predictions.scores_BPC.masked_fill(lower_BPC, 0.0))
