"""From predictions to detections, without or with non-maximum suppression.

Shape legend: B images, P points of all levels, C classes, M (image, point, class) above the threshold,
N detections of one image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from assigners.core.types import PointGrid, Predictions


@dataclass
class Detections:
    """What was found in one image, best first.

    Attributes:
        boxes_N4: float32 xyxy, pixels of the network input, not clipped.
        scores_N: float32 in [0, 1].
        labels_N: int64, 0 to C - 1.
    """

    boxes_N4: Tensor
    scores_N: Tensor
    labels_N: Tensor

    def __len__(self) -> int:
        return len(self.labels_N)

    def __getitem__(self, index: slice | Tensor) -> Detections:
        return Detections(self.boxes_N4[index], self.scores_N[index], self.labels_N[index])


def topk(
    predictions: Predictions,
    grid: PointGrid,
    score_threshold: float = 0.05,
    candidates: int = 1000,
    limit: int = 100,
) -> list[Detections]:
    """The `limit` best of each image, duplicates and all.

    Of each level at most the `candidates` best (point, class) pairs with a score above `score_threshold` take
    part. Equal scores: the lower point, then the lower class first.
    """
    return [found[:limit] for found in _best_pairs(predictions, grid, score_threshold, candidates)]


def nms(
    predictions: Predictions,
    grid: PointGrid,
    score_threshold: float = 0.05,
    candidates: int = 1000,
    limit: int = 100,
    iou: float = 0.6,
) -> list[Detections]:
    """As topk, but before the limit a pair yields to a better one of its class with an IoU above `iou`."""
    kept = []
    for found in _best_pairs(predictions, grid, score_threshold, candidates):
        # float64: batched_nms moves each class to its own place, so far away that float32 would round boxes.
        boxes_N4, scores_N = found.boxes_N4.double(), found.scores_N.double()
        index = batched_nms(boxes_N4, scores_N, found.labels_N, iou)
        kept.append(found[index.sort().values[:limit]])  # `found` is in order; batched_nms may shuffle ties
    return kept


@torch.no_grad()
def _best_pairs(
    predictions: Predictions, grid: PointGrid, score_threshold: float, candidates: int
) -> list[Detections]:
    """Per image the pairs above the threshold, at most `candidates` of a level, best first."""
    scores_BPC = predictions.scores_BPC
    image_M, point_M, label_M = (scores_BPC > score_threshold).nonzero(as_tuple=True)
    score_M = scores_BPC[image_M, point_M, label_M]
    starts = torch.tensor([part.start for part in grid.level_slices], device=point_M.device)
    level_M = torch.bucketize(point_M, starts, right=True) - 1
    # nonzero goes by image, point, class, and every sort below is stable: ties keep that order.
    best_M = score_M.argsort(descending=True, stable=True)
    group_M = image_M * len(grid.level_slices) + level_M
    best = best_M[_first_of_each(group_M[best_M], candidates)]
    best = best[image_M[best].argsort(stable=True)]
    boxes_N4 = predictions.boxes_BP4[image_M[best], point_M[best]]
    per_image = torch.bincount(image_M[best], minlength=len(scores_BPC)).tolist()
    parts = (boxes_N4.split(per_image), score_M[best].split(per_image), label_M[best].split(per_image))
    return [Detections(*image) for image in zip(*parts, strict=True)]


def _first_of_each(group_M: Tensor, count: int) -> Tensor:
    """The indices, ascending, of the first `count` members of each group."""
    grouped_M = group_M.argsort(stable=True)
    size = torch.bincount(group_M)
    start = size.cumsum(0) - size
    place_M = torch.arange(len(group_M), device=group_M.device) - start[group_M[grouped_M]]
    return grouped_M[place_M < count].sort().values
