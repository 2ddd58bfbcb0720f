"""From predictions to detections, without or with non-maximum suppression.

Shape legend: B images, P points of all levels, C classes, U points with a class above the threshold, M
(image, point, class) above it, later those of them that take part, N detections of one image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from assigners.core.types import PointGrid, Predictions
from detector.decode import Decoded
from detector.peaks import are_peaks


@dataclass
class Detections:
    """The detections of one image, best first.

    Attributes:
        boxes_N4: float32 xyxy, pixels of the network input, within the image, sides above 0.
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
    size_B2: Tensor | None = None,
) -> list[Detections]:
    """The `limit` best candidates of each image, duplicates included; `best_candidates` has the arguments.

    Predictions with a peak window are reduced to what it leaves first.
    """
    found = best_candidates(predictions, grid, score_threshold, candidates, size_B2, peaks=True)
    return [detections[:limit] for detections in found]


def nms(
    predictions: Predictions,
    grid: PointGrid,
    score_threshold: float = 0.05,
    candidates: int = 1000,
    limit: int = 100,
    iou: float = 0.6,
    size_B2: Tensor | None = None,
) -> list[Detections]:
    """As topk, but before the limit a candidate yields to a better one of its class above an IoU `iou`."""
    found = best_candidates(predictions, grid, score_threshold, candidates, size_B2)
    return [suppress(detections, iou)[:limit] for detections in found]


@torch.no_grad()
def best_candidates(
    predictions: Predictions,
    grid: PointGrid,
    score_threshold: float = 0.05,
    candidates: int = 1000,
    size_B2: Tensor | None = None,
    peaks: bool = False,
) -> list[Detections]:
    """The (point, class) pairs of each image that a selection chooses from, best first.

    Boxes are clipped to the image, and those without extent dropped, before anything is chosen: what lies
    outside neither takes a place nor suppresses.

    Args:
        predictions: of `decode`. The threshold acts on the score, or on the class probability where
            `Decoded.quality_BP` is given; the score ranks in both cases.
        score_threshold: a pair needs more; a point with a NaN has none.
        candidates: at most so many pairs of each level of an image take part, its best.
        size_B2: height and width of each image within the network input; None for all of it.
        peaks: leave out what the predictions' peak window does (`detector.peaks`).

    Returns:
        Per image; equal scores in the order of points, then of classes.
    """
    scores_BPC = predictions.scores_BPC
    least_BP = scores_BPC.new_full((1, 1), score_threshold)
    if isinstance(predictions, Decoded) and predictions.quality_BP is not None:
        least_BP = score_threshold * predictions.quality_BP
    least_BP = least_BP.expand(scores_BPC.shape[:2])
    # By its best class first, since most points have none: nonzero over all classes takes up to four times.
    image_U, point_U = (scores_BPC.amax(dim=2) > least_BP).nonzero(as_tuple=True)
    passing_UC = scores_BPC[image_U, point_U] > least_BP[image_U, point_U].unsqueeze(1)
    row_M, label_M = passing_UC.nonzero(as_tuple=True)
    image_M, point_M = image_U[row_M], point_U[row_M]
    boxes_M4 = predictions.boxes_BP4[image_M, point_M]
    if size_B2 is None:
        size_B2 = boxes_M4.new_tensor([[grid.height, grid.width]]).expand(len(scores_BPC), 2)
    side_M4 = size_B2.to(boxes_M4).flip(1).repeat(1, 2)[image_M]
    boxes_M4 = torch.minimum(boxes_M4.clamp(min=0), side_M4)
    chosen_M = (boxes_M4[:, 2:] > boxes_M4[:, :2]).all(dim=1)
    if peaks and isinstance(predictions, Decoded):
        chosen_M &= are_peaks(predictions, grid, image_M, point_M, label_M)
    row_M = chosen_M.nonzero().squeeze(1)

    image_M, point_M, label_M = image_M[row_M], point_M[row_M], label_M[row_M]
    score_M = scores_BPC[image_M, point_M, label_M]
    level_M = grid.level_of(point_M)
    # nonzero goes by image, point, class, and every sort below is stable: ties keep that order.
    order_M = score_M.argsort(descending=True, stable=True)
    group_M = image_M * len(grid.level_slices) + level_M
    best_M = order_M[_first_of_each(group_M[order_M], candidates)]
    best_M = best_M[image_M[best_M].argsort(stable=True)]
    counts = torch.bincount(image_M[best_M], minlength=len(scores_BPC)).tolist()
    columns = (boxes_M4[row_M][best_M], score_M[best_M], label_M[best_M])
    return [Detections(*image) for image in zip(*(c.split(counts) for c in columns), strict=True)]


def suppress(found: Detections, iou: float) -> Detections:
    """Those of the detections, best first, that no better one of their class overlaps by more than `iou`."""
    # float64: batched_nms moves each class to its own place, so far away that float32 would round boxes.
    index_N = batched_nms(found.boxes_N4.double(), found.scores_N.double(), found.labels_N, iou)
    return found[index_N.sort().values]  # batched_nms may shuffle equal scores


def _first_of_each(group_M: Tensor, count: int) -> Tensor:
    """The indices, ascending, of the first `count` members of each group."""
    grouped_M = group_M.argsort(stable=True)
    size = torch.bincount(group_M)
    start = size.cumsum(0) - size
    place_M = torch.arange(len(group_M), device=group_M.device) - start[group_M[grouped_M]]
    return grouped_M[place_M < count].sort().values
