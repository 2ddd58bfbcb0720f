"""Each truth with all predicted boxes of its image that can overlap it, in slices of bounded memory.

For the two rules that are defined over all points: SimOTA's dynamic k and TAL's `candidates="everywhere"`.
A tile is a block of neighbouring points of one level, its hull the box around their predicted boxes. A truth
that misses a hull overlaps none of the boxes in it, which spares most comparisons: predictions lie near
their points.

Shape legend: B images, P points, G truths, T tiles of a grid, S points of a tile, R truths of one slice, N
points that a truth of the slice is compared with (padded), H hits (truth, tile).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from assigners.types import GroundTruth, PointGrid, Predictions

ROWS, COLUMNS = 4, 4
SLICE = 2**19  # comparisons held at once: 8 MB of boxes and some temporaries of a quarter of that


def overlapping(
    grid: PointGrid, predictions: Predictions, truth: GroundTruth, exclude_BP: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yields (truth_R, point_RN, boxes_RN4) until every truth that any box can overlap had its turn.

    A row is padded with boxes of NaN, whose IoU is 0, and whose point is 0.

    Args:
        exclude_BP: bool, points to leave out.
    """
    point_TS = _tiles(grid)
    boxes_BP4 = predictions.boxes_BP4.float()
    finite_BP1 = boxes_BP4.isfinite().all(-1, keepdim=True)
    keep_BP1 = finite_BP1 if exclude_BP is None else finite_BP1 & ~exclude_BP[..., None]
    # One more point, for the padding of tiles and rows.
    boxes_BQ4 = pad(torch.where(keep_BP1, boxes_BP4, torch.nan), (0, 0, 0, 1), value=torch.nan)
    boxes_BTS4 = boxes_BQ4[:, point_TS]
    low_BT2 = boxes_BTS4[..., :2].nan_to_num(torch.inf).amin(2)
    high_BT2 = boxes_BTS4[..., 2:].nan_to_num(-torch.inf).amax(2)

    truth_H, tile_H = _hits(truth, low_BT2, high_BT2)
    count_G = torch.bincount(truth_H, minlength=len(truth))
    start_G = count_G.cumsum(0) - count_G
    # Truths of like counts together, so that the padding of a slice is small.
    order_G = count_G.argsort()
    order_G = order_G[count_G[order_G] > 0]
    tiles, points = tile_H.new_tensor([len(point_TS)]), len(grid)
    tile_H, point_TS = torch.cat((tile_H, tiles)), pad(point_TS, (0, 0, 0, 1), value=points)
    for truth_R in _slices(order_G, count_G[order_G] * (ROWS * COLUMNS)):
        column = torch.arange(int(count_G[truth_R[-1]]), device=truth_R.device)
        hit_RC = torch.where(
            column < count_G[truth_R, None], start_G[truth_R, None] + column, len(tile_H) - 1
        )
        point_RN = point_TS[tile_H[hit_RC]].flatten(1)
        boxes_RN4 = boxes_BQ4.flatten(0, 1)[truth.image_G[truth_R, None] * (points + 1) + point_RN]
        yield truth_R, point_RN.where(point_RN < points, 0), boxes_RN4


def _tiles(grid: PointGrid) -> Tensor:
    """The points of each tile, (T, S) int64; P where a tile reaches over the edge of its level."""
    tiles = []
    for level, (rows, columns) in zip(grid.level_slices, grid.shapes, strict=True):
        index = torch.arange(level.start, level.stop, device=grid.stride_P.device).view(rows, columns)
        index = pad(index, (0, -columns % COLUMNS, 0, -rows % ROWS), value=len(grid))
        index = index.unflatten(0, (-1, ROWS)).unflatten(2, (-1, COLUMNS))
        tiles.append(index.transpose(1, 2).reshape(-1, ROWS * COLUMNS))
    return torch.cat(tiles)


def _hits(truth: GroundTruth, low_BT2: Tensor, high_BT2: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs (truth, tile) whose box and hull overlap, sorted by truth."""
    truths, tiles = [truth.image_G[:0]], [truth.image_G[:0]]
    size = max(1, SLICE // low_BT2.shape[1])
    for first in range(0, len(truth), size):
        box_R14 = truth.boxes_G4[first : first + size, None].float()
        image_R = truth.image_G[first : first + size]
        hit_RT = torch.ones(1, dtype=torch.bool, device=image_R.device)
        for axis in (0, 1):
            hit_RT = hit_RT & (low_BT2[..., axis][image_R] < box_R14[..., axis + 2])
            hit_RT = hit_RT & (high_BT2[..., axis][image_R] > box_R14[..., axis])
        row_H, tile_H = hit_RT.nonzero().unbind(1)
        truths.append(row_H + first)
        tiles.append(tile_H)
    return torch.cat(truths), torch.cat(tiles)


def _slices(order_G: Tensor, width_G: Tensor) -> Iterator[Tensor]:
    """Cuts the truths, whose widths ascend, so that rows x widest stays below SLICE."""
    widths, start = width_G.tolist(), 0
    while start < len(widths):
        end = start + 1
        while end < len(widths) and (end + 1 - start) * widths[end] <= SLICE:
            end += 1
        yield order_G[start:end]
        start = end
