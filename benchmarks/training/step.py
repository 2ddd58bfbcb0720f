"""A training step and an inference beside torchvision's fcos_resnet50_fpn, and their floor.

    python -m benchmarks.training.step                     # 4 images of 320x320, float32 and bfloat16
    python -m benchmarks.training.step images=1 size=64 repeats=1

Both have random weights, the same frozen part and the same images. A step is forward, losses, backward and
the update of SGD: ours as train.py makes it, with FCOS's assigner and loss, theirs as torchvision's reference
script does. The floor is forward and backward of our backbone and FPN alone. Inference goes from images to
detections; score thresholds are set such that each image has the same number of candidates. Both networks
have the settings of memory of `engine.host`, from which torchvision's gains a little more.
"""

from __future__ import annotations

import engine.host  # isort: skip  # noqa: F401  # as train.py and eval.py; before torch is imported

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD
from torchvision.models import resnet50
from torchvision.models.detection import FCOS
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from torchvision.ops.misc import FrozenBatchNorm2d

from assigners import GroundTruth
from benchmarks.core.turns import machine, medians, table, write
from command_line import option, run
from detector.decode import decode
from detector.detector import Detector
from detector.folded import folded
from detector.scheduled_loss import build_criterion
from detector.select import nms, topk
from engine.config.compose import compose_config
from engine.setup import build_assigner, build_model
from engine.state import State

CLASSES = 80
THEIRS, STEP, FLOOR = "torchvision", "matchpoint", "backbone and FPN alone"
HEADER = ("", "precision", "ms", "times as fast as torchvision in float32")


@dataclass
class Workload:
    """What both networks are given."""

    images: int = option(4, least=1, help="of a batch")
    size: int = option(320, least=32, help="px, square; best a multiple of 32")
    boxes: int = option(7, least=1, help="ground-truth boxes of an image")
    device: str = option("cpu", help="cpu or cuda")
    precisions: list[str] = option(["float32", "bf16"], choices=("float32", "bf16"), help="of the networks")


@dataclass
class Options(Workload):
    """What the command line can set."""

    candidates: int = option(300, least=1, help="pairs of point and class above the threshold, per image")
    repeats: int = option(7, least=1, help="turns")
    out: str = option("benchmarks/results/training", help="folder of step.json and step.md")


class Ours:
    """Our detector, its training step and its inference."""

    def __init__(self, options: Workload, images_B3HW: Tensor, truth: GroundTruth) -> None:
        words = (
            "data=shapes",
            "model=fcos_r50",
            "model.backbone.weights=null",
            "model.backbone.freeze_norm=all",  # as FrozenBatchNorm2d, whose scale and shift are fixed
            "schedule=1x",
            "assigner=fcos",
        )
        config = compose_config(*words)
        torch.manual_seed(0)
        self.model: Detector = build_model(config, CLASSES).to(options.device)
        self.model.to(memory_format=torch.channels_last)
        self.folded = folded(self.model)  # as eval.py and predict.py run it
        self.state = State(self.model, dict(config.schedule), 1000)
        self.assigner = build_assigner(config)
        self.criterion = build_criterion(config.loss, config.model.head.quality)
        self.images, self.truth, self.threshold = images_B3HW, truth, 0.0

    def step(self, bf16: bool) -> None:
        self.model.train()
        with _precision(bf16, self.images):
            outputs = self.model(self.images)
        assignment = self.assigner(outputs.grid, decode(outputs), self.truth, 0.0)
        losses = self.criterion(outputs, self.truth, assignment, 0.0)
        torch.stack(list(losses.values())).sum().backward()
        self.state.update()

    def floor(self, bf16: bool) -> None:
        self.model.train()
        images = self.images.to(dtype=torch.float32, memory_format=torch.channels_last)
        with _precision(bf16, self.images):
            features = self.model.neck(self.model.backbone(images / 255))
        torch.stack([feature.float().sum() for feature in features]).sum().backward()
        self.model.zero_grad()

    @torch.inference_mode()
    def infer(self, select: Callable[..., Any], bf16: bool, fold: bool = True) -> Any:
        with _precision(bf16, self.images):
            outputs = (self.folded if fold else self.model.eval())(self.images)
        return select(decode(outputs), outputs.grid, score_threshold=self.threshold)


class Theirs:
    """torchvision's network, its training step and its inference."""

    def __init__(self, options: Workload, images_B3HW: Tensor, truth: GroundTruth) -> None:
        torch.manual_seed(0)
        backbone = resnet50(weights=None, norm_layer=FrozenBatchNorm2d)
        # As the constructor does for pretrained weights: stem and first stage frozen, P3 to P7.
        features = _resnet_fpn_extractor(
            backbone, 3, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256)
        )
        sizes = {"min_size": options.size, "max_size": options.size}
        self.model = FCOS(features, CLASSES + 1, **sizes).to(options.device)
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = SGD(trained, lr=0.01, momentum=0.9, weight_decay=1e-4)
        self.images = list(images_B3HW.float() / 255)
        own = [truth.image_G == image for image in range(len(images_B3HW))]
        self.targets = [{"boxes": truth.boxes_G4[rows], "labels": truth.labels_G[rows] + 1} for rows in own]

    def step(self, bf16: bool) -> None:
        self.model.train()
        with _precision(bf16, self.images[0]):
            losses = self.model(self.images, self.targets)
        self.optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer.step()

    @torch.inference_mode()
    def infer(self, bf16: bool) -> Any:
        self.model.eval()
        with _precision(bf16, self.images[0]):
            return self.model(self.images)


def draw(options: Workload) -> tuple[Tensor, GroundTruth]:
    """Images of noise and boxes of a tenth to a half of the side."""
    generator = torch.Generator().manual_seed(0)
    shape = (options.images, 3, options.size, options.size)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    truths = []
    for _ in range(options.images):
        side = options.size * (0.1 + 0.4 * torch.rand(options.boxes, 2, generator=generator))
        low = (options.size - side) * torch.rand(options.boxes, 2, generator=generator)
        labels = torch.randint(CLASSES, (options.boxes,), generator=generator)
        truths.append((torch.cat((low, low + side), dim=1), labels))
    return images.to(options.device), GroundTruth.from_list(truths).to(options.device)


@torch.inference_mode()
def set_thresholds(ours: Ours, theirs: Theirs, candidates: int) -> None:
    """Lets so many pairs of an image pass the score threshold of either network."""
    rank = candidates * len(ours.images)
    scores = decode(ours.folded(ours.images)).scores_BPC
    ours.threshold = float(scores.flatten().kthvalue(scores.numel() - rank).values)
    own = theirs.model.eval()
    images, _ = own.transform(theirs.images)
    outputs = own.head(list(own.backbone(images.tensors).values()))
    pairs = (outputs["cls_logits"].sigmoid() * outputs["bbox_ctrness"].sigmoid()).sqrt().flatten()
    own.score_thresh = float(pairs.kthvalue(len(pairs) - rank).values)


def measure(options: Options) -> list[dict[str, Any]]:
    """One row per way and precision: its medians, and how many times as fast as torchvision's in float32."""
    images, truth = draw(options)
    ours, theirs = Ours(options, images, truth), Theirs(options, images, truth)
    set_thresholds(ours, theirs, options.candidates)
    ways: dict[str, dict[str, Callable[[bool], object]]] = {
        "training step": {THEIRS: theirs.step, STEP: ours.step, FLOOR: ours.floor},
        "inference": {
            f"{THEIRS}, NMS": theirs.infer,
            f"{STEP}, NMS": partial(ours.infer, nms),
            f"{STEP}, NMS-free": partial(ours.infer, topk),
            f"{STEP}, NMS-free, norms not folded": partial(ours.infer, topk, fold=False),
        },
    }
    rows = []
    for kind, own in ways.items():
        names = [(name, precision) for name in own for precision in options.precisions]
        calls = {f"{name} {precision}": partial(own[name], precision == "bf16") for name, precision in names}
        times = list(medians(calls, options.repeats, options.device).values())
        for (name, precision), seconds in zip(names, times, strict=True):
            row = {"kind": kind, "name": name, "precision": precision, "seconds": seconds}
            rows.append({**row, "ratio": times[0] / seconds})
    return rows


def _precision(bf16: bool, images: Tensor) -> torch.autocast:
    return torch.autocast(images.device.type, torch.bfloat16, enabled=bf16)


def bench(options: Options) -> None:
    """Measures, prints the table and writes it."""
    rows = measure(options)
    lines = [
        [
            f"{row['kind']}: {row['name']}",
            row["precision"],
            f"{1000 * row['seconds']:.0f}",
            f"{row['ratio']:.2f}",
        ]
        for row in rows
    ]
    about = (
        f"FCOS with ResNet-50, {options.images} images of {options.size}x{options.size} px with "
        f"{options.boxes} boxes, {CLASSES} classes, {options.candidates} candidates an image. "
        f"Median of {options.repeats} turns, {machine(options.device)}."
    )
    ratios = {
        f"{row['kind']}: {row['name']} {row['precision']}": row["ratio"]
        for row in rows
        if row["name"].startswith(STEP)
    }
    write({"rows": rows, "ratios": ratios}, f"{about}\n\n{table(HEADER, lines)}", options.out, "step")


def main(words: Sequence[str] | None = None) -> None:
    """Times what the command line asks for."""
    run(Options, bench, __doc__, words)


if __name__ == "__main__":
    main()
