"""torchvision's FCOS trained on a COCO-format set as train.py would, as a row of tools.compare:

    python -m benchmarks.peers.train_torchvision root=DIR data=bccd epochs=20 weights=mobilenetv2.pth
    python -m tools.compare runs/bccd-* peers/torchvision-bccd-seed0.json

The network, its assignment and its losses are torchvision's; backbone, images, augmentation, optimizer and
schedule are those of `experiment=small`. `nms` holds its detections with NMS, `nms_free` the best candidates.

Shape legend: B images, N detections of one image.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import engine.host  # isort: skip  # noqa: F401  # before torch is imported
import torch
from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

from benchmarks.peers.row import RowOptions, Validation, validation, write_row
from command_line import option, run
from data.loader import Batch, eval_loader, train_loader
from detector.backbone.backbone import Backbone
from detector.detector import IMAGENET_MEAN, IMAGENET_STD
from engine.config.compose import compose_config
from engine.log.progress import ProgressBar
from engine.setup import build_dataset, sides
from engine.state import State


@dataclass
class Options(RowOptions):
    """What the command line can set."""

    weights: str = option("", help="file of the backbone's weights; none: random")
    words: list[str] = option([], help="further keys of train.py: data, schedule, model.backbone")
    channels: int = option(128, least=8, help="of neck and head; torchvision's own: 256")


class Pyramid(nn.Module):
    """Our backbone and torchvision's FPN, levels P3 to P7."""

    def __init__(self, backbone: Backbone, channels: int) -> None:
        super().__init__()
        self.backbone, self.out_channels = backbone, channels
        last = LastLevelP6P7(channels, channels)
        self.fpn = FeaturePyramidNetwork(list(backbone.channels), channels, extra_blocks=last)

    def forward(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        images_B3HW = images_B3HW.contiguous(memory_format=torch.channels_last)
        maps: dict[str, Tensor] = self.fpn(
            OrderedDict((str(level), map_) for level, map_ in enumerate(self.backbone(images_B3HW)))
        )
        return maps


class Normalize(GeneralizedRCNNTransform):
    """torchvision's transform without its resize, which `_skip_resize` leaves out in training alone."""

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        return image, target


def build(config: DictConfig, channels: int, classes: int) -> FCOS:
    """The network; images reach it in the size in which the loader gives them."""
    network = FCOS(
        Pyramid(Backbone(**config.model.backbone), channels), classes,
        score_thresh=config.eval.score_threshold, detections_per_img=config.eval.limit,
    )  # fmt: skip
    mean, std = ([value / 255 for value in values] for values in (IMAGENET_MEAN, IMAGENET_STD))
    network.transform = Normalize(0, 0, mean, std)
    return network.to(memory_format=torch.channels_last)


def inputs(batch: Batch) -> list[Tensor]:
    """The images of a batch without their padding, 0 to 1, as torchvision takes them."""
    sizes = batch.size_B2.tolist()
    return [
        image[:, :height, :width] / 255
        for image, (height, width) in zip(batch.images_B3HW, sizes, strict=True)
    ]


def targets(batch: Batch) -> list[dict[str, Tensor]]:
    """The truths of each image."""
    truth = batch.truth
    rows = [truth.image_G == image for image in range(len(batch))]
    return [{"boxes": truth.boxes_G4[row_G].float(), "labels": truth.labels_G[row_G]} for row_G in rows]


def learn(network: FCOS, config: DictConfig, console: Console) -> FCOS:
    """Trains it and returns the weights that count: the moving average where the schedule has one."""
    data, schedule = config.data, config.schedule
    dataset = build_dataset(data, "train", config.seed, schedule.epochs)
    edges = sides(data) if data.square else ()
    batches = train_loader(dataset, schedule.batch_size, data.workers, config.seed, sides=edges)
    state = State(network, dict(schedule), len(batches))
    for epoch in range(schedule.epochs):
        network.train()
        with ProgressBar(console, f"epoch {epoch + 1}/{schedule.epochs}", len(batches)) as bar:
            for batch in batches.epoch(epoch):
                losses = network(inputs(batch), targets(batch))
                torch.stack(list(losses.values())).sum().backward()
                state.update()
                bar.advance()
    return state.result_model


@torch.inference_mode()
def detections(network: FCOS, batches: Iterable[Batch], truth: Validation) -> list[dict[str, Any]]:
    """COCO results, in pixels of the original images."""
    network.eval()
    results: list[dict[str, Any]] = []
    for batch in batches:
        scale_B2 = (batch.original_B2 / batch.size_B2).flip(1)
        for image_id, scale_2, found in zip(
            batch.image_id_B.tolist(), scale_B2, network(inputs(batch)), strict=True
        ):
            boxes_N4 = found["boxes"] * scale_2.repeat(2)
            columns = (found["labels"].tolist(), boxes_N4.tolist(), found["scores"].tolist())
            results += [truth.result(image_id, *row) for row in zip(*columns, strict=True)]
    return results


def train(options: Options) -> Path:
    """Trains, detects with and without NMS and writes the row.

    Raises:
        UsageError: for data or words that do not fit.
    """
    truth = validation(Path(options.root))
    config = compose_config(
        "experiment=small", "assigner=fcos", f"data.root={options.root}", f"data.name={options.data}",
        f"schedule.epochs={options.epochs}", f"seed={options.seed}",
        f"model.backbone.weights={options.weights or 'null'}", *options.words,
    )  # fmt: skip
    torch.manual_seed(options.seed)
    val_set = build_dataset(config.data, "val", config.seed)
    network = learn(build(config, options.channels, len(val_set.class_names)), config, Console())
    results = {}
    for selection, iou in (("nms", config.eval.nms_iou), ("nms_free", 1.0)):
        network.nms_thresh = iou
        results[selection] = detections(network, eval_loader(val_set, config.eval.batch_size, 0), truth)
    return write_row("torchvision", options.data, options.seed, results, truth, Path(options.out))


def main(words: Sequence[str] | None = None) -> None:
    """Trains what the command line names."""
    run(Options, lambda options: print(train(options)), __doc__, words)


if __name__ == "__main__":
    main()
