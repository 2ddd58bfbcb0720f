"""How fast other libraries assign with their own assigner and, by the same call, with ours behind an adapter.

    python -m benchmarks.assigners.adapters            # of the libraries that are installed
    python -m benchmarks.assigners.adapters boxes=[7] repeats=3

The calls of a row take turns; the median counts. torchvision is installed in any case, the others come with
`uv pip install --group peers`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from assigners import ATSS, FCOS, GroundTruth, PointGrid, Predictions, SimOTA, TaskAligned
from benchmarks.assigners.cases import CLASSES, STRIDES, Case
from benchmarks.core.cost import seconds
from benchmarks.core.turns import machine, write
from command_line import option, run

Call = Callable[[], Any]
Row = tuple[str, Call, Call, Call | None]  # library and assigner; own, ours, ours for the whole batch
Inputs = tuple[PointGrid, Predictions, GroundTruth]


def torchvision_rows(inputs: Inputs) -> Iterator[Row]:
    """The matching of FCOS.compute_loss, whose second half, the loss, is left out."""
    from torchvision.models.detection.fcos import FCOS as Own  # noqa: N811

    from adapters.torchvision import AssignedFCOS

    grid, predictions, truth = inputs
    images = len(predictions.scores_BPC)
    corner = PointGrid.for_image(grid.height, grid.width, grid.strides, offset=0.0)
    half_P1 = corner.stride_P[:, None] / 2
    anchors_P4 = torch.cat((corner.centers_P2 - half_P1, corner.centers_P2 + half_P1), 1)
    boxes = [truth.boxes_G4[truth.image_G == image] for image in range(images)]
    labels = [truth.labels_G[truth.image_G == image] for image in range(images)]
    targets = [{"boxes": b, "labels": n} for b, n in zip(boxes, labels, strict=True)]
    outputs = {
        "cls_logits": predictions.scores_BPC.logit(),
        "bbox_ctrness": torch.zeros(images, len(grid), 1),
        "bbox_regression": torch.ones(images, len(grid), 4),
    }
    backbone = nn.Identity()
    backbone.out_channels = 32  # type: ignore[assignment]
    calls: list[Call] = []
    models: tuple[Any, ...] = Own(backbone, CLASSES), AssignedFCOS(backbone, CLASSES, assigner=FCOS())
    for model in models:
        del model.head
        model.head = SimpleNamespace(compute_loss=lambda *words: {})
        levels = [part.stop - part.start for part in corner.level_slices]
        words = targets, outputs, [anchors_P4] * images, levels
        calls.append(partial(model.compute_loss, *words))
    yield "torchvision, FCOS", calls[0], calls[1], None


def mmdet_rows(inputs: Inputs) -> Iterator[Row]:
    """ATSS, TAL and SimOTA, image by image as the heads call them, and a batch at once."""
    from benchmarks.peers.from_mmdet import atss, simota, task_aligned  # prepares mmdet's import

    # isort: split
    from mmengine.structures import InstanceData

    from adapters.mmdetection import DenseAssigner

    grid, predictions, truth = inputs
    priors_P4 = torch.cat((grid.centers_P2, grid.stride_P[:, None].expand(-1, 2)), 1)
    columns = zip(predictions.scores_BPC, predictions.boxes_BP4, strict=True)
    instances = [InstanceData(priors=priors_P4, scores=scores, bboxes=boxes) for scores, boxes in columns]
    gts = [
        InstanceData(bboxes=truth.boxes_G4[mine_G], labels=truth.labels_G[mine_G])
        for mine_G in (truth.image_G == image for image in range(len(instances)))
    ]
    kinds = (
        ("ATSS", atss, ATSS()),
        ("TAL, everywhere", task_aligned, TaskAligned(candidates="everywhere")),
        ("TAL; ours takes the inside", task_aligned, TaskAligned()),
        ("SimOTA", simota, SimOTA()),
    )
    for name, own, assigner in kinds:
        adapter = DenseAssigner(assigner)
        alone = partial(_one_by_one, adapter, instances, gts)
        yield f"mmdetection, {name}", own(*inputs), alone, partial(adapter.assign_batch, instances, gts)


def _one_by_one(adapter: Any, instances: list[Any], gts: list[Any]) -> list[Any]:
    return [adapter.assign(prediction, gt) for prediction, gt in zip(instances, gts, strict=True)]


def ultralytics_rows(inputs: Inputs) -> Iterator[Row]:
    """TaskAligned, which assigns a whole batch there as well."""
    from adapters.ultralytics import CallAssigner
    from benchmarks.peers.from_ultralytics import prepare_with, task_aligned

    grid = inputs[0]
    ours = CallAssigner(TaskAligned(), grid.strides)
    yield "ultralytics, TAL", task_aligned(*inputs), prepare_with(ours, *inputs), None


def yolox_rows(inputs: Inputs) -> Iterator[Row]:
    """SimOTA, image by image as the head calls it."""
    from yolox.models import YOLOXHead

    from adapters.yolox import plug

    grid, predictions, truth = inputs
    own = YOLOXHead(CLASSES, 0.125)
    plugged = copy.deepcopy(own)
    plug(plugged, SimOTA())
    stride_1P = grid.stride_P[None]
    x_1P, y_1P = (grid.centers_P2.T / grid.stride_P - 0.5).split(1)
    logits_BPC = predictions.scores_BPC.logit().clamp(-20, 20)
    objectness_BP1 = torch.full((len(logits_BPC), len(grid), 1), 4.0)
    images = []
    for image in range(len(logits_BPC)):
        mine_G = truth.image_G == image
        boxes_G4, labels_G = _sizes(truth.boxes_G4[mine_G]), truth.labels_G[mine_G].float()
        found = labels_G, _sizes(predictions.boxes_BP4[image]), stride_1P, x_1P, y_1P
        images.append((image, len(labels_G), len(grid), boxes_G4, *found,
                       logits_BPC, None, objectness_BP1, None, None))  # fmt: skip

    def call(head: Any) -> Call:
        return lambda: [head.get_assignments(*words) for words in images]

    yield "YOLOX, SimOTA", call(own), call(plugged), None


def _sizes(boxes_N4: Tensor) -> Tensor:
    low_N2, high_N2 = boxes_N4[:, :2], boxes_N4[:, 2:]
    return torch.cat(((low_N2 + high_N2) / 2, high_N2 - low_N2), 1)


def measure(inputs: Inputs, repeats: int) -> list[tuple[str, list[float | None]]]:
    """For each library that is installed: milliseconds with its own assigner, with ours, and for a batch."""
    found = []
    for rows in (mmdet_rows, ultralytics_rows, yolox_rows, torchvision_rows):
        try:
            for name, *calls in rows(inputs):
                times: list[list[float]] = [[] for _ in calls]
                for _ in range(repeats + 1):
                    for call, taken in zip(calls, times, strict=True):
                        if call is not None:
                            taken.append(1000 * seconds(call, "cpu"))
                found.append((name, [median(t[1:]) if t else None for t in times]))  # the first warms up
        except ImportError as error:
            print(f"left out: {error}")
    return found


def markdown(found: list[tuple[str, list[float | None]]]) -> str:
    """A table of the measurements, with how many times the own time ours is."""
    lines = ["| library, assigner | its own | ours, by its call | ours, a batch |", "|---|---|---|---|"]
    for name, (own, *ours) in found:
        assert own is not None
        cells = ["" if t is None else f"{t:,.1f} ms ({own / t:.1f}x)" for t in ours]
        lines.append(f"| {name} | {own:,.1f} ms | {' | '.join(cells)} |")
    return "\n".join(lines)


@dataclass
class Options:
    """What the command line can set."""

    boxes: list[int] = option([7, 100], help="ground-truth boxes of an image")
    images: int = option(16, least=1, help="of a batch")
    size: int = option(640, least=128, help="of an image in px, a multiple of 128")
    repeats: int = option(7, least=1, help="turns")
    out: str = option("benchmarks/results/assigners", help="folder of adapters.json and adapters.md")


def bench(options: Options) -> None:
    """Measures, prints the tables and writes them."""
    parts = [f"Median of {options.repeats} calls that take turns. {machine()}."]
    ratios = {}
    for count in options.boxes:
        sides = (16.0, 0.6 * options.size)
        case = Case("", options.size, options.size, STRIDES, (count,) * options.images, sides)
        found = measure(case.draw(), options.repeats)
        title = f"### {options.images} images of {options.size} px, {count} boxes each"
        parts += [title, markdown(found)]
        for name, (own, ours, _) in found:
            assert own is not None
            assert ours is not None
            ratios[f"{name}, {count} boxes"] = own / ours
    write({"ratios": ratios}, "\n\n".join(parts), options.out, "adapters")


def main(words: Sequence[str] | None = None) -> None:
    """Times what the command line asks for."""
    run(Options, bench, __doc__, words)


if __name__ == "__main__":
    main()
