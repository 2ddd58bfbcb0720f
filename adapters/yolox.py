"""Any assigner in place of YOLOX's SimOTA.

    plug(model.head, SimOTA())

YOLOX's loss takes soft scores and has no weights, so those and ignored points are not used.

Shape legend: B images, P points, C classes, G truths of one image, K positives.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor

from . import Assignment, GroundTruth, Predictions, grid_of


def plug(head: Any, assigner: Callable[..., Assignment]) -> None:
    """Makes a YOLOXHead ask `assigner`, which reads the share of training done from `head.progress`."""
    head.assigner, head.progress = assigner, 0.0
    head.get_assignments = MethodType(get_assignments, head)


@torch.no_grad()
def get_assignments(head: Any, batch_idx: int, num_gt: int, *words: Any) -> tuple[Any, ...]:
    """The positives of one image, as YOLOXHead.get_assignments returns them.

    Args:
        words: as YOLOX passes them, release 0.3.0 with the number of points, raw boxes, labels and images
            among them: boxes (G, 4) as centre and size, classes (G,), predicted boxes (P, 4), strides, x and
            y of the cells, all (1, P), and the logits of classes (B, P, C) and of objectness (B, P, 1).

    Returns:
        Classes (K,), positives (P,) bool, soft scores (K,), rows of the truths (K,) and K.
    """
    if isinstance(words[0], int):
        words = (*words[1:8], words[9])
    boxes_G4, labels_G, predicted_P4, strides, x, y, logits_BPC, objectness_BP1 = words[:8]
    stride_P = strides.reshape(-1)
    point_P2 = (torch.stack((x.reshape(-1), y.reshape(-1)), 1) + 0.5) * stride_P[:, None]
    scores_PC = (logits_BPC[batch_idx].float().sigmoid() * objectness_BP1[batch_idx].float().sigmoid()).sqrt()
    found = head.assigner(
        grid_of(point_P2, stride_P, offset=0.5),
        Predictions(scores_PC[None], _corners(predicted_P4)[None]),
        GroundTruth.from_list([(_corners(boxes_G4), labels_G)]),
        head.progress,
    )
    positive_P = torch.zeros_like(stride_P, dtype=torch.bool)
    positive_P[found.point_K] = True
    return labels_G[found.truth_K], positive_P, found.score_K, found.truth_K, len(found)


def _corners(boxes_N4: Tensor) -> Tensor:
    center_N2, half_N2 = boxes_N4[:, :2].float(), boxes_N4[:, 2:].float() / 2
    return torch.cat((center_N2 - half_N2, center_N2 + half_N2), 1)
