"""mmdetection 3.3: ATSS, TaskAligned and SimOTA, called image by image as its heads do.

Shape legend: B images, P points, G truths of the batch, N truths of an image, K positives of an image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from assigners import GroundTruth, PointGrid, Predictions
from benchmarks.peers import Peer
from benchmarks.peers.mmdet_import import mmdet_models

CLASSES = vars(mmdet_models().task_modules.assigners)

ANCHOR_SCALE = 8.0
TARGET_EPS = 1e-7  # in the divisor of the scores, as in the head that uses TaskAligned

Run = Callable[[], list[Any]]


def atss(grid: PointGrid, predictions: Predictions, truth: GroundTruth) -> Run:
    assigner = CLASSES["ATSSAssigner"](topk=9)
    anchors, levels = _anchors(grid), [part.stop - part.start for part in grid.level_slices]
    images = [(InstanceData(priors=anchors), own) for own in _truths(predictions, truth)]
    return lambda: [assigner.assign(priors, levels, own) for priors, own in images]


def task_aligned(grid: PointGrid, predictions: Predictions, truth: GroundTruth) -> Run:
    assigner = CLASSES["TaskAlignedAssigner"](topk=13)
    images = _images(_anchors(grid), predictions, truth)

    def run() -> list[Any]:
        results = [assigner.assign(instances, own, alpha=1, beta=6) for instances, own in images]
        return [(result, _scaled_alignment(result)) for result in results]

    return run


def simota(grid: PointGrid, predictions: Predictions, truth: GroundTruth) -> Run:
    assigner = CLASSES["SimOTAAssigner"](center_radius=2.5, candidate_topk=10, iou_weight=3.0, cls_weight=1.0)
    priors_P4 = torch.cat((grid.centers_P2, grid.stride_P[:, None].expand(-1, 2)), dim=1)
    images = _images(priors_P4, predictions, truth)
    return lambda: [assigner.assign(instances, own) for instances, own in images]


def _scaled_alignment(result: Any) -> Tensor:
    """The scores (P,) that TOOD's head makes of the alignment, one truth after the other as there."""
    score_P = torch.zeros_like(result.assign_metrics)
    for number in result.gt_inds[result.gt_inds > 0].unique():
        point_K = (result.gt_inds == number).nonzero().squeeze(1)
        t_K, iou_K = result.assign_metrics[point_K], result.max_overlaps[point_K]
        score_P[point_K] = t_K / (t_K.max() + TARGET_EPS) * iou_K.max()
    return score_P


def _anchors(grid: PointGrid) -> Tensor:
    half_P1 = grid.stride_P[:, None] * (ANCHOR_SCALE / 2)
    return torch.cat((grid.centers_P2 - half_P1, grid.centers_P2 + half_P1), dim=1)


def _truths(predictions: Predictions, truth: GroundTruth) -> list[Any]:
    count_B = torch.bincount(truth.image_G, minlength=len(predictions.scores_BPC)).tolist()
    boxes, labels = truth.boxes_G4.split(count_B), truth.labels_G.split(count_B)
    return [
        InstanceData(bboxes=boxes_N4, labels=labels_N)
        for boxes_N4, labels_N in zip(boxes, labels, strict=True)
    ]


def _images(priors_P4: Tensor, predictions: Predictions, truth: GroundTruth) -> list[tuple[Any, Any]]:
    instances = [
        InstanceData(priors=priors_P4, scores=scores_PC, bboxes=boxes_P4)
        for scores_PC, boxes_P4 in zip(predictions.scores_BPC, predictions.boxes_BP4, strict=True)
    ]
    return list(zip(instances, _truths(predictions, truth), strict=True))


def _rows(results: list[Any], predictions: Predictions, truth: GroundTruth) -> Tensor:
    """The truth of every point, (B, P), from numbers that count from 1 within each image."""
    number_BP = torch.stack([result.gt_inds for result in results])
    count_B = torch.bincount(truth.image_G, minlength=len(predictions.scores_BPC))
    first_B = count_B.cumsum(0) - count_B
    return torch.where(number_BP > 0, number_BP - 1 + first_B[:, None], -1)


def _dense_atss(
    results: Any, grid: PointGrid, predictions: Predictions, truth: GroundTruth
) -> tuple[Tensor, Tensor]:
    truth_BP = _rows(results, predictions, truth)
    return truth_BP, (truth_BP >= 0).float()


def _dense_task_aligned(
    results: Any, grid: PointGrid, predictions: Predictions, truth: GroundTruth
) -> tuple[Tensor, Tensor]:
    truth_BP = _rows([result for result, _ in results], predictions, truth)
    return truth_BP, torch.stack([score_P for _, score_P in results])


def _dense_simota(
    results: Any, grid: PointGrid, predictions: Predictions, truth: GroundTruth
) -> tuple[Tensor, Tensor]:
    truth_BP = _rows(results, predictions, truth)
    iou_BP = torch.stack([result.max_overlaps for result in results])
    return truth_BP, torch.where(truth_BP >= 0, iou_BP, 0.0)


PEERS = [
    Peer("mmdet ATSS", "atss", atss, _dense_atss),
    Peer("mmdet TAL", "tal", task_aligned, _dense_task_aligned),
    Peer("mmdet SimOTA", "simota", simota, _dense_simota),
]
