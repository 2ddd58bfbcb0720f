"""Each truth with the predicted boxes of its image that can overlap it enough, in parts of bounded memory.

For the rules that are defined over all points: SimOTA's dynamic k, TAL's `candidates="everywhere"` and the
thresholds of QualityATSS. The boxes of an image are sorted by size and place and cut into blocks of like
boxes. A truth that misses the hull of a block overlaps no box of it, and hull and areas bound the IoU of the
truth with any of them: that spares most comparisons, wherever the predictions lie.

Shape legend: B images, P points, G truths, K boxes that take part, S boxes of a block, Q blocks of all
images, V blocks of a group, U groups of all images or those compared with a truth, X groups of an image, Y
truths of one slice, Z pairs (truth, block). A dimension of 6 is smallest area, low x, low y, high x, high y,
largest area.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from .boxes import area, take
from .ranking import rank_within
from .types import GroundTruth, Predictions

BLOCK = 16  # boxes
GROUP = 8  # blocks
CELL = 4  # pixels
SLICE = 2**21  # comparisons held at once: 48 MB of boxes and some temporaries of 8 MB
SIDE = 1024  # cells along an axis; what lies beyond counts as the last one
MARGIN = 1 - 1e-5  # for the rounding of the bound and of the IoU
OVERLAP = 1e-30  # an IoU below this one is none


@dataclass(frozen=True)
class Blocks:
    """The predicted boxes in blocks, the same number in each image.

    What is left out or fills a block up is an empty box, whose IoU is 0.

    Attributes:
        boxes_Q6S: the boxes; their hulls, by groups of blocks, are hulls_U6V, those of the groups hulls_B6X.
        cell_K, order_K, slot_K: what takes part, in which order, and where that lies in the blocks.
        points_per_image: P.
    """

    boxes_Q6S: Tensor
    hulls_U6V: Tensor
    hulls_B6X: Tensor
    cell_K: Tensor
    order_K: Tensor
    slot_K: Tensor
    points_per_image: int

    def points(self, block_Z: Tensor) -> Tensor:
        """The points of some blocks, (Z, S); 0 for a box that only fills a block up."""
        return self._point_QS.index_select(0, block_Z)

    @cached_property
    def _point_QS(self) -> Tensor:
        point_K = self.cell_K.index_select(0, self.order_K) % max(self.points_per_image, 1)
        point_N = point_K.new_zeros(len(self.boxes_Q6S) * BLOCK).index_copy_(0, self.slot_K, point_K)
        return point_N.view(-1, BLOCK)

    def boxes(self, block_Z: Tensor) -> Tensor:
        """Their boxes, (Z, S, 4), laid out column by column."""
        return self.boxes_Q6S.index_select(0, block_Z)[:, 1:5].transpose(1, 2)


def overlapping(
    blocks: Blocks, truth: GroundTruth, least_G: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields (truth_Z, block_Z), by truth, until each truth had all blocks that any box of can overlap it.

    Args:
        least_G: boxes whose IoU with the truth is below this one, at least OVERLAP, may be left out.
    """
    boxes_G4, groups = truth.boxes_G4.float(), blocks.hulls_B6X.shape[2]
    least_G = boxes_G4.new_full((len(truth),), OVERLAP) if least_G is None else least_G * MARGIN
    truth_G6 = torch.cat((boxes_G4, area(boxes_G4)[:, None], least_G[:, None]), 1)
    # First groups of blocks, then the blocks of those groups.
    length = max(1, SLICE // max(1, groups))
    for start in range(0, len(truth), length):
        image_Y, truth_Y6 = truth.image_G[start : start + length], truth_G6[start : start + length]
        near_YX = _may_reach(blocks.hulls_B6X.index_select(0, image_Y), truth_Y6)
        row_U, group_U = near_YX.nonzero().unbind(1)
        group_U = group_U + image_Y.index_select(0, row_U) * groups
        for row_N, group_N in zip(row_U.split(SLICE // GROUP), group_U.split(SLICE // GROUP), strict=True):
            hulls_N6V, truth_N6 = blocks.hulls_U6V.index_select(0, group_N), truth_Y6.index_select(0, row_N)
            row_Z, block_Z = _may_reach(hulls_N6V, truth_N6).nonzero().unbind(1)
            truth_Z, block_Z = row_N[row_Z] + start, group_N[row_Z] * GROUP + block_Z
            yield from zip(truth_Z.split(SLICE // BLOCK), block_Z.split(SLICE // BLOCK), strict=True)


def blocks_of(predictions: Predictions, cell_K: Tensor | None = None) -> Blocks:
    """Sorts the predicted boxes into blocks.

    Args:
        cell_K: image x P + point of those that take part, ascending; None for all.
    """
    boxes_BP4 = predictions.boxes_BP4.float()
    images, points = boxes_BP4.shape[:2]
    if cell_K is None:
        cell_K = torch.arange(images * points, device=boxes_BP4.device)
    boxes_K4 = take(boxes_BP4.reshape(-1, 4), cell_K)
    area_K, nothing_61 = area(boxes_K4), _nothing(str(boxes_BP4.device))
    # An infinite or NaN side makes the area infinite, NaN or 0.
    real_K = (area_K > 0).logical_and_(area_K < torch.inf)
    boxes_6K = torch.cat((area_K[None], boxes_K4.t(), area_K[None]))
    boxes_6K = torch.where(real_K, boxes_6K, nothing_61)
    # Image by image, boxes of one power of two in area together, those along a Z-curve through their centres.
    image_K = torch.div(cell_K, max(points, 1), rounding_mode="floor")
    size_K = boxes_6K[0].view(torch.int32) >> 23  # the exponent
    middle_K2 = (boxes_K4[:, :2] + boxes_K4[:, 2:]).mul_(0.5 / CELL).nan_to_num_()
    spread_N = _spread(str(boxes_BP4.device))
    place_K2 = spread_N[middle_K2.clamp_(0, SIDE - 1).long()]
    key_K = (image_K << 28).add_(size_K, alpha=1 << 20).add_(place_K2[:, 0]).add_(place_K2[:, 1], alpha=2)
    order_K = key_K.sort(stable=True).indices
    image_K = image_K.index_select(0, order_K)
    # Every image gets as many blocks as the fullest one needs.
    rank_K = rank_within(image_K, images)
    most = int(rank_K.max()) + 1 if len(rank_K) else 0
    per_image = -(-most // (BLOCK * GROUP)) * GROUP
    slot_K = rank_K.add_(image_K, alpha=per_image * BLOCK)
    boxes_6N = nothing_61.repeat(1, images * per_image * BLOCK)
    boxes_6N.index_copy_(1, slot_K, boxes_6K.index_select(1, order_K))
    boxes_Q6S = boxes_6N.view(6, -1, BLOCK).transpose(0, 1).contiguous()
    hulls_U6V = _hull(boxes_Q6S).view(-1, GROUP, 6).transpose(1, 2).contiguous()
    hulls_B6X = _hull(hulls_U6V).view(images, -1, 6).transpose(1, 2)
    return Blocks(boxes_Q6S, hulls_U6V, hulls_B6X, cell_K, order_K, slot_K, points)


@lru_cache(maxsize=8)
def _nothing(device: str) -> Tensor:
    """What changes no hull, (6, 1)."""
    with torch.inference_mode(False):
        return torch.tensor([torch.inf] * 3 + [-torch.inf] * 3, device=device)[:, None]


@lru_cache(maxsize=8)
def _spread(device: str) -> Tensor:
    """The ten bits of each number below SIDE with a zero between each two, (SIDE,)."""
    with torch.inference_mode(False):
        return torch.tensor([int(f"{x:b}", 4) for x in range(SIDE)], device=device)


def _hull(boxes_N6S: Tensor) -> Tensor:
    """What encloses some boxes or hulls, (N, 6)."""
    return torch.cat((boxes_N6S[:, :3].amin(2), boxes_N6S[:, 3:].amax(2)), 1)


def _may_reach(hulls_N6V: Tensor, truth_N6: Tensor) -> Tensor:
    """Whether any box within each hull can have the IoU that is asked for with the truth, (N, V).

    Args:
        truth_N6: low x, low y, high x, high y, area, and the IoU.
    """
    # The IoU i / (A + a - i) grows with the intersection i and falls with the area a of the box. So no box
    # within beats the largest possible intersection and the smallest area.
    side_N2V = torch.minimum(hulls_N6V[:, 3:5], truth_N6[:, 2:4, None])
    side_N2V = side_N2V.sub_(torch.maximum(hulls_N6V[:, 1:3], truth_N6[:, :2, None])).clamp_(min=0)
    inter_NV = torch.minimum(side_N2V[:, 0] * side_N2V[:, 1], hulls_N6V[:, 5])
    union_NV = torch.maximum(hulls_N6V[:, 0], inter_NV).sub_(inter_NV).add_(truth_N6[:, 4:5])
    return inter_NV >= union_NV.mul_(truth_N6[:, 5:])
