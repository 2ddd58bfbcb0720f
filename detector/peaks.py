"""Local maxima: the NMS-free selection for detectors that score several points of an object high.

Shape legend: B images, P points of all levels, C classes, H and W rows and columns of a level.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from assigners.core.types import PointGrid
from detector.criterion import target_centerness
from detector.decode import Decoded

# How far a point looks beyond its direct neighbours: half of the smaller side of the box that it predicts.
# Points of one object lie closer than that, two objects of one class seldom do.
REACH = 0.5


def keep_peaks(predictions: Decoded, grid: PointGrid) -> Decoded:
    """The same predictions with a score of 0 where a point near by ranks higher for the same class.

    Without a `predictions.peak_window` nothing changes. The scores that stay do not change.

    A window of 3: near are the 3x3 points of the same level. A point ranks by its score times its centerness
    in the box that it predicts itself: neighbours of one object have nearly equal scores and boxes, and the
    box says which of them is nearest to its centre.

    A larger window: points farther apart than direct neighbours are near if they lie within the window and
    their distance, the larger of rows and columns, is at most REACH times the smaller side of each one's box.
    So the window spans an object and not the next one. A point ranks by its score: no second maximum of the
    object lies beyond, against which centerness would help.

    It is max pooling per level (CenterNet, arXiv 1904.07850, section 4, for its heat map): the cost does not
    depend on the number of detections, and no boxes are compared. Of two objects of one class whose best
    points are near, the lower-ranking one is lost. Equal ranks both stay.
    """
    window = predictions.peak_window
    if window is None:
        return predictions
    rank_BPC, boxes_BP4 = predictions.scores_BPC, predictions.boxes_BP4
    if window == 3:
        rank_BPC = rank_BPC * target_centerness(grid.centers_P2, boxes_BP4).unsqueeze(-1)
    highest_BPC = _highest_near(rank_BPC, grid, 1)
    side_BP = (boxes_BP4[..., 2:] - boxes_BP4[..., :2]).amin(dim=-1)
    for distance in range(2, window // 2 + 1):
        far_BP1 = (side_BP * REACH >= distance * grid.stride_P).unsqueeze(-1)
        near_BPC = _highest_near(rank_BPC * far_BP1, grid, distance)
        highest_BPC = torch.where(far_BP1, torch.maximum(highest_BPC, near_BPC), highest_BPC)
    return replace(predictions, scores_BPC=predictions.scores_BPC.masked_fill(rank_BPC < highest_BPC, 0.0))


def _highest_near(rank_BPC: Tensor, grid: PointGrid, distance: int) -> Tensor:
    """The highest rank of each class among the points of a level at most so many rows and columns away."""
    highest = []
    for part, shape in zip(grid.level_slices, grid.shapes, strict=True):
        rank_BCHW = rank_BPC[:, part].transpose(1, 2).unflatten(2, shape)
        pooled_BCHW = max_pool2d(rank_BCHW, 2 * distance + 1, stride=1, padding=distance)
        highest.append(pooled_BCHW.flatten(2).transpose(1, 2))
    return torch.cat(highest, dim=1)
