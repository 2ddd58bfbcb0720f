"""Local maxima of the scores: the NMS-free selection for scores that are high on several points of an object.

Shape legend: B images, P points of all levels, C classes, H and W rows and columns of a level.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn.functional import max_pool2d

from assigners.core.types import PointGrid
from detector.decode import Decoded


def keep_peaks(predictions: Decoded, grid: PointGrid) -> Decoded:
    """The same predictions with a score of 0 where a neighbouring point has a higher one of the same class.

    Neighbours are the points of the same level within `predictions.peak_window` x `predictions.peak_window`
    around a point; without a window nothing changes. It is one max pooling per level (CenterNet, arXiv
    1904.07850, section 4, for its heat map): its cost does not depend on the number of detections, and no
    boxes are compared. Of two objects of one class whose best points lie within one window, the lower-scoring
    one is lost. Equal scores both stay.
    """
    window = predictions.peak_window
    if window is None:
        return predictions
    kept = []
    for part, shape in zip(grid.level_slices, grid.shapes, strict=True):
        map_BCHW = predictions.scores_BPC[:, part].transpose(1, 2).unflatten(2, shape)
        highest_BCHW = max_pool2d(map_BCHW, window, stride=1, padding=window // 2)
        kept.append(torch.where(map_BCHW < highest_BCHW, 0.0, map_BCHW).flatten(2).transpose(1, 2))
    return replace(predictions, scores_BPC=torch.cat(kept, dim=1))
