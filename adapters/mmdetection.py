"""Any assigner in mmdetection 3.x's registry.

    custom_imports = dict(imports=["matchpoint_assigners.adapters.mmdetection"])
    assigner = dict(type="DenseAssigner", assigner=dict(type="ATSS"), anchor_scale=8, offset=0)

Shape legend: B images, P points, C classes, G truths of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import torch
from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from . import Assignment, GroundTruth, Predictions, grid_of, ignore_inside, iou, row_in_image

ASSIGNERS = import_module(GroundTruth.__module__.removesuffix(".core.types"))


@TASK_UTILS.register_module()
class DenseAssigner(BaseAssigner):
    """Stands where a head of dense points has its own assigner: ATSS, TOOD, RTMDet, YOLOX.

    Args:
        assigner: an assigner, or {"type": its class's name, and its options}.
        anchor_scale: side of the priors in strides, which are squares; None where they are points,
            (x, y, stride, stride).
        offset: of the priors in their cells: 0 for AnchorGenerator, the `offset` of MlvlPointGenerator; 0.5
            in the YOLOX head, which shifts them.

    Attributes:
        progress: in [0, 1], how much of training is done, for assigners with a schedule. A hook sets it.
    """

    def __init__(
        self,
        assigner: Callable[..., Assignment] | dict[str, Any],
        anchor_scale: float | None = None,
        offset: float = 0.5,
    ) -> None:
        if isinstance(assigner, dict):
            options = dict(assigner)
            assigner = getattr(ASSIGNERS, options.pop("type"))(**options)
        self.assigner: Any = assigner
        self.anchor_scale, self.offset, self.progress = anchor_scale, offset, 0.0

    def assign(self, pred_instances: Any, *words: Any, **options: Any) -> Any:
        """One image. Truths, then maybe ignored ones; what else some heads pass is not needed."""
        known = (options.get("gt_instances"), options.get("gt_instances_ignore"))
        given = [value for value in (*words, *known) if isinstance(value, InstanceData)]
        return self.assign_batch([pred_instances], given[:1], given[1:2])[0]

    def assign_batch(
        self, pred_instances: Sequence[Any], gt_instances: Sequence[Any], ignored: Sequence[Any] = ()
    ) -> list[Any]:
        """All images of a batch at once, whose priors are the same."""
        priors_P4 = pred_instances[0].priors
        grid = grid_of(*self._points(priors_P4), self.offset)
        truth = GroundTruth.from_list([(get_box_tensor(gt.bboxes), gt.labels) for gt in gt_instances])
        # Heads that assign by places hand over no predictions.
        boxes_BP4 = _batch([get_box_tensor(p.get("bboxes", p.priors)) for p in pred_instances])
        scores_BPC = _batch([p.get("scores", p.priors.new_zeros(len(grid), 1)) for p in pred_instances])
        found = self.assigner(grid, Predictions(scores_BPC, boxes_BP4), truth, self.progress)
        images, points = boxes_BP4.shape[:2]
        if ignored:
            regions = [(get_box_tensor(gt.bboxes), torch.zeros(len(gt))) for gt in ignored]
            found = ignore_inside(found, grid, GroundTruth.from_list(regions).to(priors_P4.device), images)
        number_BP = row_in_image(found, truth, images, points) + 1
        if len(found.image_N):
            number_BP[(found.background_weight(images, points) == 0) & (number_BP == 0)] = -1
        score_BP, iou_BP = (torch.zeros_like(number_BP, dtype=torch.float32) for _ in range(2))
        at_K = found.image_K, found.point_K
        score_BP[at_K] = found.score_K
        iou_BP[at_K] = iou(boxes_BP4[at_K].float(), truth.boxes_G4[found.truth_K])
        columns = zip(number_BP, iou_BP, found.labels(truth, images, points), score_BP, strict=True)
        results = []
        for gt, (number_P, iou_P, label_P, score_P) in zip(gt_instances, columns, strict=True):
            result = AssignResult(len(gt), number_P, iou_P, label_P)
            result.assign_metrics = score_P  # what the TOOD head weighs by
            results.append(result)
        return results

    def _points(self, priors_P4: Tensor) -> tuple[Tensor, Tensor]:
        if self.anchor_scale is None:
            return priors_P4[:, :2], priors_P4[:, 2]
        stride_P = (priors_P4[:, 2] - priors_P4[:, 0]) / self.anchor_scale
        return (priors_P4[:, :2] + priors_P4[:, 2:]) / 2, stride_P


def _batch(images: list[Tensor]) -> Tensor:
    return images[0][None] if len(images) == 1 else torch.stack(images)
