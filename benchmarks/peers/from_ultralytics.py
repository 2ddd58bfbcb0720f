"""ultralytics: TaskAligned, the whole batch at once with its truths padded to the longest image.

Imported for measurement only. Shape legend: B images, P points, C classes, G truths of the batch, N truths
of the longest image.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assigners import GroundTruth, PointGrid, Predictions
from benchmarks.peers import Peer

# It writes a settings file when it is imported: not into the home directory.
os.environ.setdefault("YOLO_CONFIG_DIR", str(Path(tempfile.gettempdir(), "ultralytics")))

from ultralytics.utils.tal import TaskAlignedAssigner

TOPK, ALPHA, BETA = 13, 1.0, 6.0


def task_aligned(grid: PointGrid, predictions: Predictions, truth: GroundTruth) -> Callable[[], Any]:
    assigner = TaskAlignedAssigner(
        topk=TOPK,
        num_classes=predictions.scores_BPC.shape[2],
        alpha=ALPHA,
        beta=BETA,
        stride=list(grid.strides),
    )
    return prepare_with(assigner, grid, predictions, truth)


def prepare_with(
    assigner: Any, grid: PointGrid, predictions: Predictions, truth: GroundTruth
) -> Callable[[], Any]:
    """The same with an assigner of one's own making."""
    images = len(predictions.scores_BPC)
    column_G = _column_in_image(truth, images)
    length = int(column_G.max()) + 1 if len(truth) else 0
    boxes_BN4 = truth.boxes_G4.new_zeros(images, length, 4)
    labels_BN1 = truth.labels_G.new_zeros(images, length, 1)
    real_BN1 = torch.zeros(images, length, 1, dtype=torch.bool, device=truth.boxes_G4.device)
    boxes_BN4[truth.image_G, column_G] = truth.boxes_G4
    labels_BN1[truth.image_G, column_G, 0] = truth.labels_G
    real_BN1[truth.image_G, column_G] = True
    scores_BPC, boxes_BP4, centers_P2 = predictions.scores_BPC, predictions.boxes_BP4, grid.centers_P2
    return lambda: assigner(scores_BPC, boxes_BP4, centers_P2, labels_BN1, boxes_BN4, real_BN1)


def _column_in_image(truth: GroundTruth, images: int) -> Tensor:
    count_B = torch.bincount(truth.image_G, minlength=images)
    return (
        torch.arange(len(truth), device=truth.image_G.device) - (count_B.cumsum(0) - count_B)[truth.image_G]
    )


def dense(
    result: Any, grid: PointGrid, predictions: Predictions, truth: GroundTruth
) -> tuple[Tensor, Tensor]:
    _, _, score_BPC, positive_BP, column_BP = result
    count_B = torch.bincount(truth.image_G, minlength=len(predictions.scores_BPC))
    first_B = count_B.cumsum(0) - count_B
    truth_BP = torch.where(positive_BP, column_BP.long() + first_B[:, None], -1)
    return truth_BP, score_BPC.amax(2).float()


PEERS = [Peer("ultralytics TAL", "tal", task_aligned, dense)]
