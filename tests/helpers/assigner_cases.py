"""Every variant of every assigner, with the oracle that it is held to."""

from functools import partial

import torch
from torch import Tensor

from assigners import (
    ATSS,
    DSLA,
    FCOS,
    O2F,
    POTO,
    RFLA,
    DualWeighting,
    GroundTruth,
    Hungarian,
    MaxIoU,
    OneToFewLabels,
    PointGrid,
    Predictions,
    QualityATSS,
    Scheduled,
    SimOTA,
    TaskAligned,
)
from tests.helpers.assigner_batches import Batch, random_predictions
from tests.helpers.assigner_check import Assigner, Oracle
from tests.oracles.atss import atss
from tests.oracles.dsla import dsla
from tests.oracles.dw import dw
from tests.oracles.fcos import fcos
from tests.oracles.hungarian import hungarian
from tests.oracles.max_iou import max_iou
from tests.oracles.o2f import o2f
from tests.oracles.poto import poto
from tests.oracles.quality_atss import quality_atss
from tests.oracles.relabel import tal_one_to_few
from tests.oracles.rfla import rfla
from tests.oracles.simota import simota
from tests.oracles.task_aligned import task_aligned

GRID = PointGrid.for_image(64, 96, (8, 16, 32))
BOX = [2.0, 2.0, 74.0, 50.0]

CASES: dict[str, tuple[Assigner, Oracle]] = {
    "atss": (ATSS(), atss),
    "atss-iou": (ATSS(score="iou"), partial(atss, score="iou")),
    "atss-force": (ATSS(score="iou", force_match=True), partial(atss, score="iou", force_match=True)),
    "fcos": (FCOS(), fcos),
    "fcos-inside": (FCOS(center_radius=None, reach=3.0), partial(fcos, center_radius=None, reach=3.0)),
    "simota": (SimOTA(), simota),
    "simota-varifocal": (
        SimOTA(cost="varifocal", iou_weight=6.0),
        partial(simota, cost="varifocal", iou_weight=6.0),
    ),
    "simota-center": (
        SimOTA(region="center", center_radius=1.5),
        partial(simota, region="center", center_radius=1.5),
    ),
    "dsla": (DSLA(), dsla),
    "dsla-nanodet": (DSLA(center_radius=None), partial(dsla, center_radius=None)),
    "tal": (TaskAligned(), task_aligned),
    "tal-everywhere": (TaskAligned(candidates="everywhere"), partial(task_aligned, candidates="everywhere")),
    "tal-one-to-few": (OneToFewLabels(TaskAligned()), tal_one_to_few),
    "tal-reach": (TaskAligned(reach=4.0), partial(task_aligned, reach=4.0)),
    "tal-one-to-one": (TaskAligned(topk=7, keep=1), partial(task_aligned, topk=7, keep=1)),
    "tal-small": (
        TaskAligned(topk=2, min_side=16.0, min_points=2),
        partial(task_aligned, topk=2, min_side=16.0, min_points=2),
    ),
    "tal-then-atss": (
        Scheduled(TaskAligned(), ATSS(), 0.5),
        lambda scene, progress: (task_aligned if progress < 0.5 else atss)(scene),
    ),
    "o2f": (O2F(), o2f),
    "poto": (POTO(), poto),
    "hungarian": (Hungarian(), hungarian),
    "max-iou": (MaxIoU(), max_iou),
    "max-iou-paper": (
        MaxIoU(anchor_scale=8.0, scales=1, force_match=False),
        partial(max_iou, anchor_scale=8.0, scales=1, force_match=False),
    ),
    "dw": (DualWeighting(), dw),
    "rfla": (RFLA(field=10.0), partial(rfla, field=10.0)),
    "quality-atss": (QualityATSS(), quality_atss),
}


def truths(*images: list[list[float]], label: int = 0) -> GroundTruth:
    """One list of boxes per image, all of one class."""
    pairs = [(torch.tensor(boxes).reshape(-1, 4), torch.full((len(boxes),), label)) for boxes in images]
    return GroundTruth.from_list(pairs)


def copies(grid: PointGrid, *boxes: list[float] | None, score: float = 0.5, classes: int = 2) -> Predictions:
    """Every point of image i predicts boxes[i] exactly; None stands for boxes of no size at the points."""
    center_P4 = grid.centers_P2.repeat(1, 2)
    boxes_BP4 = [center_P4 if box is None else torch.tensor(box).expand(len(grid), 4) for box in boxes]
    return Predictions(torch.full((len(boxes), len(grid), classes), score), torch.stack(boxes_BP4))


def crowd(images: int, count: int, size: int, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """`count` boxes of 3 to 60 px per image in a square image, coordinates multiples of 1/4, 3 classes."""
    generator = torch.Generator().manual_seed(seed)
    result = []
    for _ in range(images):
        corner_N2 = torch.randint(0, 4 * size, (count, 2), generator=generator) / 4
        extent_N2 = torch.randint(12, 240, (count, 2), generator=generator) / 4
        labels_N = torch.randint(0, 3, (count,), generator=generator)
        result.append((torch.cat((corner_N2, corner_N2 + extent_N2), dim=1), labels_N))
    return result


def crowded(images: int = 3, count: int = 20, style: str = "near", seed: int = 0) -> Batch:
    """Many boxes, and an image without any in the middle."""
    pairs = crowd(images, count, 96, seed)
    pairs[images // 2] = (torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    predictions = random_predictions(GRID, pairs, 3, style, seed)
    return Batch(GRID, predictions, GroundTruth.from_list(pairs), images, style)
