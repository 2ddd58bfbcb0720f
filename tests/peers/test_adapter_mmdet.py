"""Training steps of mmdetection's detectors on ten images, with its own assigners and with ours."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("mmengine")
pytest.importorskip("mmdet")
pytest.importorskip("mmcv")

from benchmarks.peers.mmdet_import import mmdet_models

mmdet_models()

from mmdet.registry import MODELS, TASK_UTILS  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402

import adapters.mmdetection  # noqa: E402, F401  # registers the adapter
from assigners import PointGrid  # noqa: E402
from tests.helpers.peer_pictures import pictures  # noqa: E402

CLASSES, CHANNELS, STRIDES = 4, 16, [8, 16, 32]
FPN = {"type": "FPN", "in_channels": [64, 128, 256, 512], "out_channels": CHANNELS, "start_level": 1,
       "num_outs": 3}  # fmt: skip
RESNET = {"type": "ResNet", "depth": 18, "num_stages": 4, "out_indices": (0, 1, 2, 3), "style": "pytorch"}
ANCHORS = {"type": "AnchorGenerator", "ratios": [1.0], "octave_base_scale": 8, "scales_per_octave": 1,
           "strides": STRIDES}  # fmt: skip
HEAD = {"num_classes": CLASSES, "in_channels": CHANNELS, "feat_channels": CHANNELS, "stacked_convs": 1}
GROUPS = {"norm_cfg": {"type": "GN", "num_groups": 4}}


def atss_head() -> dict[str, Any]:
    return {
        "type": "ATSSHead", **HEAD, "anchor_generator": ANCHORS, **GROUPS,
        "bbox_coder": {"type": "DeltaXYWHBBoxCoder", "target_stds": [0.1, 0.1, 0.2, 0.2]},
        "loss_bbox": {"type": "GIoULoss", "loss_weight": 2.0},
    }  # fmt: skip


def rtmdet_head() -> dict[str, Any]:
    return {
        "type": "RTMDetSepBNHead", **HEAD, "share_conv": True, "norm_cfg": {"type": "BN"},
        "anchor_generator": {"type": "MlvlPointGenerator", "offset": 0, "strides": STRIDES},
        "bbox_coder": {"type": "DistancePointBBoxCoder"}, "with_objectness": False,
        "loss_cls": {"type": "QualityFocalLoss", "use_sigmoid": True, "beta": 2.0, "loss_weight": 1.0},
        "loss_bbox": {"type": "GIoULoss", "loss_weight": 2.0},
    }  # fmt: skip


def yolox_head() -> dict[str, Any]:
    return {"type": "YOLOXHead", **HEAD, "stacked_convs": 2, "strides": STRIDES}


KINDS: dict[str, tuple[Any, Any, dict[str, Any], dict[str, Any]]] = {
    # name: detector, head, its own assigner, ours
    "atss": (
        "ATSS", atss_head, {"type": "ATSSAssigner", "topk": 9},
        {"assigner": {"type": "ATSS"}, "anchor_scale": 8, "offset": 0},
    ),
    "rtmdet": (
        "RTMDet", rtmdet_head, {"type": "DynamicSoftLabelAssigner", "topk": 13},
        {"assigner": {"type": "DSLA"}, "offset": 0},
    ),
    "yolox": (
        "YOLOX", yolox_head, {"type": "SimOTAAssigner", "center_radius": 2.5},
        {"assigner": {"type": "SimOTA"}, "offset": 0.5},
    ),
}  # fmt: skip


def detector(kind: str, assigner: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    name, head, _, _ = KINDS[kind]
    train = {"assigner": assigner, "allowed_border": -1, "pos_weight": -1, "debug": False}
    config = {"type": name, "backbone": RESNET, "neck": FPN, "bbox_head": head(), "train_cfg": train}
    return MODELS.build(copy.deepcopy(config))


def samples() -> tuple[Tensor, list[Any]]:
    images, truths = pictures()
    found = []
    for boxes_N4, labels_N in truths:
        sample = DetDataSample(metainfo={"img_shape": images.shape[-2:], "pad_shape": images.shape[-2:],
                                         "batch_input_shape": images.shape[-2:]})  # fmt: skip
        sample.gt_instances = InstanceData(bboxes=boxes_N4, labels=labels_N)
        found.append(sample)
    return images, found


def losses(kind: str, assigner: dict[str, Any]) -> tuple[Any, dict[str, Tensor]]:
    model = detector(kind, assigner)
    found = model.loss(*samples())
    return model, {name: sum(value) if isinstance(value, list) else value for name, value in found.items()}


@pytest.mark.parametrize("kind", ["atss", "yolox"])
def test_a_step_equals_that_with_the_own_assigner(kind: str) -> None:
    """The same loss to rounding: SimOTA's truths here are large enough for k proper candidates each."""
    *_, own, ours = KINDS[kind]
    _, expected = losses(kind, own)
    model, found = losses(kind, {"type": "DenseAssigner", **ours})
    assert found.keys() == expected.keys()
    for name, loss in expected.items():
        assert loss > 0
        torch.testing.assert_close(found[name], loss, rtol=1e-4, atol=1e-5)
    torch.stack(list(found.values())).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("kind", "name"),
    [("atss", "MaxIoU"), ("atss", "RFLA"), ("rtmdet", "DSLA"), ("rtmdet", "O2F"), ("yolox", "O2F")],
)
def test_any_other_assigner_trains_it(kind: str, name: str) -> None:
    ours = {**KINDS[kind][3], "assigner": {"type": name}}
    model, _ = losses(kind, {"type": "DenseAssigner", **ours})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    values = []
    for _ in range(4):
        found = model.loss(*samples())
        loss = sum((sum(v) if isinstance(v, list) else v for v in found.values()), torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < values[0], values


def test_the_batch_equals_its_images() -> None:
    adapter = TASK_UTILS.build({"type": "DenseAssigner", "assigner": {"type": "TaskAligned"}})
    generator = torch.Generator().manual_seed(0)
    images, truths = pictures()
    grid = PointGrid.for_image(*images.shape[-2:], STRIDES)
    priors_P4 = torch.cat((grid.centers_P2, grid.stride_P[:, None].expand(-1, 2)), 1)
    predictions = [
        InstanceData(
            priors=priors_P4,
            scores=torch.rand(len(grid), CLASSES, generator=generator),
            bboxes=grid.centers_P2.repeat(1, 2) + 40 * torch.tensor([-1.0, -1, 1, 1])
            + 10 * torch.randn(len(grid), 4, generator=generator),
        )
        for _ in truths
    ]  # fmt: skip
    gts = [InstanceData(bboxes=boxes_N4, labels=labels_N) for boxes_N4, labels_N in truths]
    together = adapter.assign_batch(predictions, gts)
    positives = 0
    for one, prediction, gt in zip(together, predictions, gts, strict=True):
        alone = adapter.assign(prediction, gt)
        assert torch.equal(one.gt_inds, alone.gt_inds)
        assert torch.equal(one.labels, alone.labels)
        assert torch.equal(one.assign_metrics, alone.assign_metrics)
        torch.testing.assert_close(one.max_overlaps, alone.max_overlaps)
        positives += int((one.gt_inds > 0).sum())
    assert positives > 50


def test_ignored_regions_and_thresholds_become_minus_one() -> None:
    adapter = TASK_UTILS.build({"type": "DenseAssigner", "assigner": {"type": "MaxIoU"}})
    grid = PointGrid.for_image(128, 128, STRIDES)
    priors_P4 = torch.cat((grid.centers_P2, grid.stride_P[:, None].expand(-1, 2)), 1)
    prediction, gt = InstanceData(priors=priors_P4), InstanceData(
        bboxes=torch.tensor([[10.0, 10.0, 44.0, 50.0]]), labels=torch.tensor([2])
    )  # fmt: skip
    plain = adapter.assign(prediction, gt)
    assert set(plain.gt_inds.tolist()) == {-1, 0, 1}
    region = InstanceData(bboxes=torch.tensor([[64.0, 64.0, 128.0, 128.0]]))
    ignoring = adapter.assign(prediction, gt, region)
    inside_P = (grid.centers_P2 > 64).all(1)
    assert bool((ignoring.gt_inds[inside_P] == -1).all())
    assert torch.equal(ignoring.gt_inds[~inside_P], plain.gt_inds[~inside_P])
