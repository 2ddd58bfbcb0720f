"""TaskAligned against ultralytics', wherever the two should give the same answer."""

from functools import partial
from typing import Any

import pytest
from torch import Tensor

from tests.helpers.peer_borders import close_call, close_contest, depth, on_border, overlaps, top
from tests.helpers.peer_cases import Picture, agree, with_eps

from_ultralytics = pytest.importorskip("benchmarks.peers.from_ultralytics")

from ultralytics.utils.metrics import bbox_iou  # noqa: E402

from assigners import GroundTruth, PointGrid, Predictions, TaskAligned  # noqa: E402
from benchmarks.peers import Peer  # noqa: E402


class PlainIoU(from_ultralytics.TaskAlignedAssigner):
    """With the IoU of the paper in place of CIoU, so that the rest can be compared."""

    def iou_calculation(self, gt_bboxes: Tensor, pd_bboxes: Tensor) -> Tensor:
        return bbox_iou(gt_bboxes, pd_bboxes, xywh=False).squeeze(-1)


def prepare(grid: PointGrid, predictions: Predictions, truth: GroundTruth) -> Any:
    # A least side of 0 px leaves every truth as large as it is.
    assigner = PlainIoU(topk=13, num_classes=predictions.scores_BPC.shape[2], alpha=1.0, beta=6.0, stride=[0])
    return from_ultralytics.prepare_with(assigner, grid, predictions, truth)


def decided(picture: Picture) -> bool:
    """Also: every truth finds as many points with an alignment above 1e-9 as it takes there."""
    depth_NP, iou_NP = depth(picture), overlaps(picture)
    if on_border(depth_NP):
        return False
    inside_NP = depth_NP > 0
    t_NP = picture.p_NP * iou_NP**6
    live_NP = inside_NP & (t_NP > 1e-9 * (1 + 1e-4))
    if bool((live_NP.sum(1) < inside_NP.sum(1).clamp(max=13)).any()):
        return False
    chosen_NP = top(t_NP * live_NP, 13) & live_NP
    contested_P = chosen_NP.sum(0) > 1
    return not (close_call(t_NP * live_NP, chosen_NP) or close_contest(iou_NP * inside_NP, contested_P))


@pytest.mark.parametrize(("smallest", "near"), [(12.0, 0.0), (20.0, 0.1)])
def test_tal_is_ultralytics_under_plain_iou(smallest: float, near: float) -> None:
    peer = Peer("ultralytics TAL, plain IoU", "tal", prepare, from_ultralytics.dense)
    rescale = partial(with_eps, eps=1e-9)
    seen = agree(TaskAligned(), peer, decided, count=200, rescale=rescale, smallest=smallest, near=near)
    assert seen["compared"] > 0.5 * seen["images"], seen
    assert seen["positives"] > 20 * seen["with truths"], seen
