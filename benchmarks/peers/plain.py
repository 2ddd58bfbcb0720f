"""O2F as one would write it down: every truth of an image against every point, one image after the other.

It stands in for the authors' code, which needs packages of its time and fails on images without truths.

Shape legend: B images, P points, G truths of the batch, N truths of an image, K positives of an image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from assigners import GroundTruth, PointGrid, Predictions
from benchmarks.peers import Peer

TOPK, ALPHA, RADIUS, SOFT_WEIGHT, T_MAX, T_MIN = 7, 0.8, 1.5, 0.4, 0.6, 0.2


def o2f(
    grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
) -> Callable[[], list[tuple[Tensor, Tensor, Tensor]]]:
    count_B = torch.bincount(truth.image_G, minlength=len(predictions.scores_BPC)).tolist()
    columns = (
        truth.boxes_G4.split(count_B),
        truth.labels_G.split(count_B),
        predictions.scores_BPC,
        predictions.boxes_BP4,
    )
    images = list(zip(*columns, strict=True))
    target = T_MAX + (T_MIN - T_MAX) * progress
    return lambda: [one_image(grid, *image, target) for image in images]


def one_image(
    grid: PointGrid, boxes_N4: Tensor, labels_N: Tensor, scores_PC: Tensor, boxes_P4: Tensor, target: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Truth of the image (-1 is background), score and weight of every point, (P,) each."""
    truth_P = torch.full_like(grid.stride_P, -1, dtype=torch.long)
    score_P, weight_P = torch.zeros_like(grid.stride_P), torch.ones_like(grid.stride_P)
    if len(boxes_N4) == 0:
        return truth_P, score_P, weight_P
    # 1. and 2. Candidates and quality.
    iou_NP, p_NP = box_iou(boxes_N4, boxes_P4), scores_PC[:, labels_N].T
    q_NP = p_NP ** (1 - ALPHA) * iou_NP**ALPHA
    q_NP = q_NP.masked_fill(~(_candidate(grid, boxes_N4) & (iou_NP > 0)), -1.0)
    # 3. The best of each truth.
    best_Nk, point_Nk = q_NP.topk(min(TOPK, q_NP.shape[1]), dim=1)
    claim_NP = torch.full_like(q_NP, -1.0).scatter(1, point_Nk, best_Nk)
    # 4. One truth per point.
    claim_P, winner_P = claim_NP.max(0)
    truth_P = torch.where(claim_P >= 0, winner_P, -1)
    # 5. The best point of each truth is certain, the others are soft.
    own_NP = truth_P == torch.arange(len(boxes_N4), device=truth_P.device)[:, None]
    certain_N = q_NP.masked_fill(~own_NP, -1.0).argmax(1)
    certain_NP = own_NP & (torch.arange(len(grid), device=truth_P.device) == certain_N[:, None])
    soft_NP = torch.where(own_NP & ~certain_NP, p_NP, 0.0)
    top_N1 = soft_NP.amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    score_P = torch.where(certain_NP, 1.0, soft_NP / top_N1 * target).sum(0)
    weight_P = torch.where(certain_NP.any(0) | (truth_P < 0), 1.0, SOFT_WEIGHT)
    return truth_P, score_P, weight_P


def _candidate(grid: PointGrid, boxes_N4: Tensor) -> Tensor:
    """Which points lie inside which truths and inside their centre squares, (N, P) bool."""
    middle_N12 = ((boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2)[:, None]
    in_square_NP = ((grid.centers_P2 - middle_N12).abs() < RADIUS * grid.stride_P[:, None]).all(2)
    low_NP2, high_NP2 = grid.centers_P2 - boxes_N4[:, None, :2], boxes_N4[:, None, 2:] - grid.centers_P2
    return in_square_NP & (torch.minimum(low_NP2, high_NP2) > 0).all(2)


def dense(
    results: Any, grid: PointGrid, predictions: Predictions, truth: GroundTruth
) -> tuple[Tensor, Tensor]:
    count_B = torch.bincount(truth.image_G, minlength=len(predictions.scores_BPC))
    first_B = count_B.cumsum(0) - count_B
    truth_BP = torch.stack([truth_P for truth_P, _, _ in results])
    score_BP = torch.stack([score_P for _, score_P, _ in results])
    return torch.where(truth_BP >= 0, truth_BP + first_B[:, None], -1), score_BP


PEERS = [Peer("plain O2F", "o2f", o2f, dense)]
