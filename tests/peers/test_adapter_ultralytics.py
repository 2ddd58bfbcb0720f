"""Training steps of an ultralytics model on ten images, and its assigner beside ours. Measured, not read."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

os.environ.setdefault("YOLO_CONFIG_DIR", str(Path(tempfile.gettempdir(), "ultralytics")))
pytest.importorskip("ultralytics")

from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.metrics import bbox_iou
from ultralytics.utils.tal import TaskAlignedAssigner

from adapters.ultralytics import CallAssigner
from assigners import ATSS, O2F, TaskAligned
from tests.helpers.peer_pictures import pictures


class PlainIoU(TaskAlignedAssigner):
    """With the IoU of the paper in place of CIoU, and truths as large as they are."""

    def __init__(self) -> None:
        super().__init__(topk=10, num_classes=4, alpha=0.5, beta=1.0, stride=[0])

    def iou_calculation(self, gt_bboxes: Tensor, pd_bboxes: Tensor) -> Tensor:
        return bbox_iou(gt_bboxes, pd_bboxes, xywh=False).squeeze(-1)


def model() -> Any:
    torch.manual_seed(0)
    network = DetectionModel("yolov8n.yaml", nc=4, verbose=False)
    network.args = get_cfg()
    network.criterion = network.init_criterion()
    return network.train()


def batch() -> dict[str, Tensor]:
    images, truths = pictures()
    boxes = torch.cat([boxes_N4 for boxes_N4, _ in truths])
    owner = torch.cat([torch.full((len(labels_N),), float(i)) for i, (_, labels_N) in enumerate(truths)])
    centers = torch.cat(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]), 1)
    labels = torch.cat([labels_N for _, labels_N in truths]).float()[:, None]
    return {"img": images, "batch_idx": owner, "cls": labels, "bboxes": centers / images.shape[-1]}


def test_a_step_equals_that_with_its_own_assigner() -> None:
    """The boxes of a new model overlap every truth around their points, so that no alignment is 0."""
    losses = []
    for assigner in (PlainIoU(), CallAssigner(TaskAligned(topk=10, alpha=0.5, beta=1.0))):
        network = model()
        network.criterion.assigner = assigner
        losses.append(network.loss(batch())[0])
    assert bool((losses[0] > 0).all())
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("assigner", [ATSS(score="iou"), TaskAligned(), O2F()], ids=["atss", "tal", "o2f"])
def test_a_training_step_with_any_assigner(assigner: Any) -> None:
    network = model()
    network.criterion.assigner = CallAssigner(assigner)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001)
    values = []
    for _ in range(4):
        loss = network.loss(batch())[0].sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss))
    assert values[-1] < values[0], values
