"""Each truth with all predicted boxes of its image that can overlap it, in slices of bounded memory.

For the two rules that are defined over all points: SimOTA's dynamic k and TAL's `candidates="everywhere"`.
The boxes of an image are sorted by size and place and cut into blocks of like boxes. A truth that misses the
hull of a block overlaps no box of it, and hull and areas bound the IoU of the truth with any of them: that
spares most comparisons, wherever the predictions lie.

Shape legend: B images, P points, G truths, T blocks of an image or of a truth, Q blocks of all images and one
more, S boxes of a block, R truths of one slice, N points that a truth of the slice is compared with (padded),
H hits (truth, block).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from assigners.boxes import area
from assigners.pairs import rank_within
from assigners.types import GroundTruth, Predictions

BLOCK = 16
CELL = 4  # pixels
SLICE = 2**19  # comparisons held at once: 8 MB of boxes and some temporaries of a quarter of that


@dataclass(frozen=True)
class Blocks:
    """The predicted boxes in blocks, the same number in each image, then one block of nothing.

    What is left out or fills a block up is a box of NaN, whose IoU is 0, at point 0.
    """

    point_QS: Tensor
    boxes_QS4: Tensor
    low_2BT: Tensor
    high_2BT: Tensor

    def points(self, block_RT: Tensor) -> Tensor:
        """The points of some blocks for each truth of a slice, (R, N)."""
        return self.point_QS.index_select(0, block_RT.flatten()).view(len(block_RT), -1)

    def boxes(self, block_RT: Tensor) -> Tensor:
        """Their boxes, (R, N, 4)."""
        return self.boxes_QS4.index_select(0, block_RT.flatten()).view(len(block_RT), -1, 4)


def overlapping(
    blocks: Blocks, truth: GroundTruth, least_G: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields (truth_R, block_RT) until every truth that any box can overlap had its turn.

    Args:
        least_G: boxes whose IoU with the truth is below this one may be left out.
    """
    truth_H, block_H = _hits(truth, blocks, least_G)
    count_G = torch.bincount(truth_H, minlength=len(truth))
    start_G = count_G.cumsum(0) - count_G
    # Truths of like counts together, so that the padding of a slice is small.
    order_G = count_G.argsort()
    order_G = order_G[count_G[order_G] > 0]
    nothing = len(blocks.point_QS) - 1
    block_H = pad(truth.image_G[truth_H] * blocks.low_2BT.shape[2] + block_H, (0, 1), value=nothing)
    for truth_R in _slices(order_G, count_G[order_G] * BLOCK):
        column = torch.arange(int(count_G[truth_R[-1]]), device=truth_R.device)
        hit_RT = torch.where(column < count_G[truth_R, None], start_G[truth_R, None] + column, len(truth_H))
        yield truth_R, block_H[hit_RT]


def blocks_of(predictions: Predictions, keep_BP: Tensor | None = None) -> Blocks:
    """Sorts the predicted boxes into blocks; `keep_BP` says which points take part, None for all."""
    boxes_BP4 = predictions.boxes_BP4.float()
    images, points = boxes_BP4.shape[:2]
    if keep_BP is None:
        keep_BP = torch.ones_like(boxes_BP4[..., 0], dtype=torch.bool)
    cell_K = keep_BP.reshape(-1).nonzero().squeeze(1)
    boxes_K4 = boxes_BP4.reshape(-1, 4).index_select(0, cell_K)
    area_K = area(boxes_K4)
    row_K = (boxes_K4.isfinite().all(1) & area_K.isfinite() & (area_K > 0)).nonzero().squeeze(1)
    cell_K, boxes_K4, area_K = cell_K[row_K], boxes_K4[row_K], area_K[row_K]
    # Image by image, boxes of one power of two in area together, those along a Z-curve through their centres.
    size_K = area_K.log2().floor().clamp(-64, 63).long() + 64
    middle_K2 = (boxes_K4[:, :2] + boxes_K4[:, 2:]) * (0.5 / CELL)
    place_K2 = _spread(middle_K2.clamp(0, 1023).long())
    image_K = torch.div(cell_K, max(points, 1), rounding_mode="floor")
    key_K = (image_K << 27) + (size_K << 20) + (place_K2[:, 1] << 1) + place_K2[:, 0]
    order_K = key_K.sort(stable=True).indices
    image_K = image_K[order_K]
    # Every image gets as many blocks as the fullest one needs.
    count_B = torch.bincount(image_K, minlength=images)
    per_image = -(-int(count_B.max()) // BLOCK)
    slot_K = image_K * (per_image * BLOCK) + rank_within(image_K, count_B)
    point_QS = cell_K.new_zeros(images * per_image + 1, BLOCK)
    point_QS.view(-1)[slot_K] = cell_K[order_K] - image_K * points
    boxes_QS4 = boxes_K4.new_full((images * per_image + 1, BLOCK, 4), torch.nan)
    boxes_QS4.view(-1, 4)[slot_K] = boxes_K4.index_select(0, order_K)
    low_Q2 = boxes_QS4[:-1, :, :2].nan_to_num(torch.inf).amin(1)
    high_Q2 = boxes_QS4[:-1, :, 2:].nan_to_num(-torch.inf).amax(1)
    shape = (2, images, per_image)
    return Blocks(
        point_QS, boxes_QS4, low_Q2.t().contiguous().view(shape), high_Q2.t().contiguous().view(shape)
    )


def _spread(x: Tensor) -> Tensor:
    """The ten bits of x with a zero between each two."""
    for shift, mask in ((8, 0x300FF), (4, 0x30F0F), (2, 0x33333), (1, 0x55555)):
        x = (x | (x << shift)) & mask
    return x


def _hits(truth: GroundTruth, blocks: Blocks, least_G: Tensor | None) -> tuple[Tensor, Tensor]:
    """The pairs (truth, block) that may hold an overlap of at least `least_G`, sorted by truth."""
    per_image = blocks.low_2BT.shape[2]
    truths, hits = [truth.image_G[:0]], [truth.image_G[:0]]
    size = max(1, SLICE // max(1, per_image))
    for first in range(0, len(truth), size):
        box_4R1 = truth.boxes_G4[first : first + size].float().t()[..., None]
        image_R = truth.image_G[first : first + size]
        hit_RT = torch.ones(1, dtype=torch.bool, device=image_R.device)
        for axis in (0, 1):
            hit_RT = hit_RT & (blocks.low_2BT[axis].index_select(0, image_R) < box_4R1[axis + 2])
            hit_RT &= blocks.high_2BT[axis].index_select(0, image_R) > box_4R1[axis]
        row_H, block_H = hit_RT.nonzero().unbind(1)
        truths.append(row_H + first)
        hits.append(block_H)
    truth_H, block_H = torch.cat(truths), torch.cat(hits)
    if least_G is None:
        return truth_H, block_H
    # The IoU i / (A + a - i) grows with the intersection i and falls with the area a of the box. So no box
    # of the block beats its largest possible intersection and its smallest area.
    area_QS = area(blocks.boxes_QS4)
    at_H = truth.image_G[truth_H] * per_image + block_H
    box_H4 = truth.boxes_G4[truth_H].float()
    low_H2, high_H2 = (t.flatten(1).index_select(1, at_H).t() for t in (blocks.low_2BT, blocks.high_2BT))
    hull_H4 = torch.cat((torch.maximum(low_H2, box_H4[:, :2]), torch.minimum(high_H2, box_H4[:, 2:])), 1)
    inter_H = torch.minimum(area(hull_H4), area_QS.nan_to_num(0.0).amax(1)[at_H])
    smallest_H = torch.maximum(area_QS.nan_to_num(torch.inf).amin(1)[at_H], inter_H)
    # A margin for the rounding of this bound and of the IoU.
    close_H = inter_H >= (1 - 1e-5) * least_G[truth_H] * (area(box_H4) + smallest_H - inter_H)
    return truth_H[close_H], block_H[close_H]


def _slices(order_G: Tensor, width_G: Tensor) -> Iterator[Tensor]:
    """Cuts the truths, whose widths ascend, into slices below SLICE of widths that differ by half at most."""
    widths, start = width_G.tolist(), 0
    while start < len(widths):
        end = start + 1
        while (
            end < len(widths)
            and (end + 1 - start) * widths[end] <= SLICE
            and widths[end] <= max(1.5 * widths[start], 256)
        ):
            end += 1
        yield order_G[start:end]
        start = end
