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

from .boxes import area, take
from .pairs import counts, rank_within
from .types import GroundTruth, Predictions

BLOCK = 16  # boxes
GROUP = 8  # blocks
CELL = 4  # pixels
SLICE = 2**18  # comparisons held at once: 4 MB of boxes and some temporaries of a quarter of that


@dataclass(frozen=True)
class Blocks:
    """The predicted boxes in blocks, the same number in each image, then one block of nothing.

    What is left out or fills a block up is a box of NaN, whose IoU is 0, at point 0.
    """

    point_QS: Tensor
    boxes_4QS: Tensor
    hulls_6BT: Tensor

    def points(self, block_RT: Tensor) -> Tensor:
        """The points of some blocks for each truth of a slice, (R, N)."""
        return self.point_QS.index_select(0, block_RT.flatten()).view(len(block_RT), -1)

    def boxes(self, block_RT: Tensor) -> Tensor:
        """Their boxes, (R, N, 4), laid out column by column."""
        boxes_4HS = torch.stack(_gather(self.boxes_4QS, block_RT.flatten()))
        return boxes_4HS.view(4, len(block_RT), -1).permute(1, 2, 0)


def overlapping(
    blocks: Blocks, truth: GroundTruth, least_G: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields (truth_R, block_RT) until every truth that any box can overlap had its turn.

    Args:
        least_G: boxes whose IoU with the truth is below this one may be left out.
    """
    truth_H, block_H = _hits(truth, blocks, least_G)
    count_G = counts(truth_H, len(truth))
    start_G = count_G.cumsum(0) - count_G
    # Truths of like counts together, so that the padding of a slice is small.
    order_G = count_G.argsort()
    order_G = order_G[count_G[order_G] > 0]
    nothing = len(blocks.point_QS) - 1
    block_H = pad(truth.image_G[truth_H] * blocks.hulls_6BT.shape[2] + block_H, (0, 1), value=nothing)
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
    count_B = counts(image_K, images)
    per_image = -(-int(count_B.max()) // (BLOCK * GROUP)) * GROUP
    slot_K = image_K * (per_image * BLOCK) + rank_within(image_K, count_B)
    point_QS = cell_K.new_zeros(images * per_image + 1, BLOCK)
    point_QS.view(-1)[slot_K] = cell_K[order_K] - image_K * points
    boxes_4QS = boxes_K4.new_full((4, images * per_image + 1, BLOCK), torch.nan)
    boxes_4QS.view(4, -1)[:, slot_K] = take(boxes_K4, order_K).t()
    return Blocks(point_QS, boxes_4QS, _hulls(boxes_4QS[:, :-1]).view(6, images, per_image))


def _spread(x: Tensor) -> Tensor:
    """The ten bits of x with a zero between each two."""
    for shift, mask in ((8, 0x300FF), (4, 0x30F0F), (2, 0x33333), (1, 0x55555)):
        x = (x | (x << shift)) & mask
    return x


def _gather(rows_XQS: Tensor, row_H: Tensor) -> list[Tensor]:
    """Some rows of each of the X tables, X of (H, S): far faster than index_select over dimension 1."""
    return [rows_QS.index_select(0, row_H) for rows_QS in rows_XQS]


def _hulls(boxes_4QS: Tensor) -> Tensor:
    """What encloses each block, (6, Q): low x, low y and smallest area; high x, high y and largest area."""
    area_QS = area(boxes_4QS.permute(1, 2, 0))
    least_3QS = torch.cat((boxes_4QS[:2], area_QS[None])).nan_to_num(torch.inf)
    most_3QS = torch.cat((boxes_4QS[2:], area_QS[None])).nan_to_num(-torch.inf)
    return torch.cat((least_3QS.amin(2), most_3QS.amax(2)))


def _hits(truth: GroundTruth, blocks: Blocks, least_G: Tensor | None) -> tuple[Tensor, Tensor]:
    """The pairs (truth, block) that may hold an overlap of at least `least_G`, sorted by truth."""
    boxes_4G = truth.boxes_G4.float().t().contiguous()
    if least_G is None:
        least_G = torch.zeros_like(boxes_4G[0])
    # First groups of blocks, then the blocks of those groups.
    hulls_6BTS = blocks.hulls_6BT.unflatten(2, (-1, GROUP))
    groups_6BT = torch.cat((hulls_6BTS[:3].amin(3), hulls_6BTS[3:].amax(3)))
    groups, hulls_6QS = groups_6BT.shape[2], hulls_6BTS.flatten(1, 2)
    truths, hits = [truth.image_G[:0]], [truth.image_G[:0]]
    for truth_R in torch.arange(len(truth), device=least_G.device).split(max(1, SLICE // max(1, groups))):
        groups_6RT = _gather(groups_6BT, truth.image_G[truth_R])
        near_RT = _may_reach(groups_6RT, boxes_4G[:, truth_R, None], least_G[truth_R, None])
        row_H, group_H = near_RT.nonzero().unbind(1)
        truth_H = truth_R[row_H]
        hulls_6HS = _gather(hulls_6QS, truth.image_G[truth_H] * groups + group_H)
        near_HS = _may_reach(hulls_6HS, boxes_4G[:, truth_H, None], least_G[truth_H, None])
        row_H, block_H = near_HS.nonzero().unbind(1)
        truths.append(truth_H[row_H])
        hits.append(group_H[row_H] * GROUP + block_H)
    return torch.cat(truths), torch.cat(hits)


def _may_reach(hulls_6N: list[Tensor], boxes_4N: Tensor, least_N: Tensor) -> Tensor:
    """Whether any box within the hull can overlap the other box, with an IoU of at least `least_N`."""
    # The IoU i / (A + a - i) grows with the intersection i and falls with the area a of the box. So no box
    # within beats the largest possible intersection and the smallest area.
    x1_N, y1_N, smallest_N, x2_N, y2_N, largest_N = hulls_6N
    left_N, top_N, right_N, bottom_N = boxes_4N
    width_N = torch.minimum(x2_N, right_N).sub_(torch.maximum(x1_N, left_N)).clamp_(min=0)
    height_N = torch.minimum(y2_N, bottom_N).sub_(torch.maximum(y1_N, top_N)).clamp_(min=0)
    inter_N = torch.minimum(width_N.mul_(height_N), largest_N)
    union_N = torch.maximum(smallest_N, inter_N).sub_(inter_N).add_((right_N - left_N) * (bottom_N - top_N))
    # A margin for the rounding of this bound and of the IoU.
    return (inter_N >= union_N.mul_((1 - 1e-5) * least_N)).logical_and_(inter_N > 0)


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
