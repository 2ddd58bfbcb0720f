"""Parts of a run on the claimed device, and its training step."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from omegaconf import DictConfig

from assigners import Assigner, Assignment, GroundTruth, PointGrid, Predictions
from data.loader import Batch, collate
from data.sample import IGNORED, Sample
from detector.detector import Detector, TrainedPredictors
from engine.config.compose import compose_config
from engine.log.loss_window import LossWindow
from engine.predictors import build_supervisions
from engine.setup import build_model
from engine.state import State
from tests.gpu_contract.device import CUDA, Contract, bare, on_device
from tests.helpers.tiny_run import TINY_RUN

CLASSES, SIZE = 3, 64


def words(assigner: str) -> tuple[str, ...]:
    """Of a small run with this assigner, in which the weights have a moving average.

    Gradients are not clipped: torch groups them by device in C++, which sees that these lie on the CPU.
    """
    model = ("model=tood_r50",) if assigner == "tood" else ()
    # A backbone of few layers: the time of a step is that of its operations in Python.
    backbone = ("model.backbone.name=resnet10t", "model.backbone.weights=null")
    return (
        *("data=shapes", *model, f"assigner={assigner}", *backbone),
        *(*TINY_RUN, "schedule.ema=0.9", "schedule.clip_norm=null"),
    )


def detector(config: DictConfig) -> Detector:
    """The network of a run, on the CPU."""
    torch.manual_seed(0)
    return build_model(config, CLASSES)


def batch(objects: bool = True, crowd: bool = False) -> Batch:
    """Three images on the CPU.

    Args:
        objects: the first two images hold some; no image does if false.
        crowd: the second image holds a crowd region.
    """
    random = torch.Generator().manual_seed(0)
    boxes: list[list[list[float]]] = [[], [], []]
    labels: list[list[int]] = [[], [], []]
    if objects:
        boxes = [[[4, 6, 40, 44], [30, 20, 62, 60]], [[10, 12, 30, 36]], []]
        labels = [[0, 1], [2], []]
    if crowd:
        boxes[1].append([0, 0, 20, 20])
        labels[1].append(IGNORED)
    samples = [
        Sample(
            torch.randint(256, (3, SIZE, SIZE), dtype=torch.uint8, generator=random),
            torch.tensor(boxes[place], dtype=torch.float32).view(-1, 4),
            torch.tensor(labels[place], dtype=torch.long),
            place,
            (SIZE, SIZE),
        )
        for place in range(len(boxes))
    ]
    return collate(samples)


class Counts:
    """Waits and uploads of a step, by its parts; a part within another is counted once, as itself."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.waits: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.uploads: Counter[str] = Counter()

    @contextmanager
    def part(self, part: str) -> Iterator[None]:
        """What runs within is counted as this part."""
        outer = self.contract.waits
        self.contract.waits, self.contract.uploads = self.waits[part], self.uploads
        yield
        self.contract.waits = outer


class Counted(Assigner):
    """An assigner whose calls are a part of their own."""

    def __init__(self, assigner: Assigner, counts: Counts) -> None:
        self.assigner, self.counts = assigner, counts

    def __call__(
        self, grid: PointGrid, predictions: Predictions, truth: GroundTruth, progress: float = 0.0
    ) -> Assignment:
        with self.counts.part("assign"):
            return self.assigner(grid, predictions, truth, progress)


class Step:
    """The training step of a run, as `engine.trainer` makes it, on the CPU or on the claimed device."""

    def __init__(self, assigner: str, device: torch.device) -> None:
        config = compose_config(*words(assigner))
        self.device = device
        self.model = detector(config).train()
        if device == CUDA:
            on_device(self.model)
        self.state = State(self.model, dict(config.schedule), steps_per_epoch=10)
        for group in self.state.optimizer.param_groups:
            group["fused"] = None  # as on a GPU: AdamW amplifies what another kernel rounds otherwise
        with Contract():
            self.supervisions = build_supervisions(config, device)
        self.network = TrainedPredictors(self.model, [own.source for own in self.supervisions])
        self.window = LossWindow()

    def __call__(self, samples: Batch, progress: float) -> Counts:
        """One step with a batch that lies on the CPU."""
        with Contract() as contract:
            batch = samples.to(self.device)
            counts = Counts(contract)
            with counts.part("forward"):
                outputs = self.network(batch.images_B3HW)
            losses: dict[str, torch.Tensor] = {}
            for own in self.supervisions:
                counted = replace(own, assigner=Counted(own.assigner, counts))
                with counts.part("decode, statistics and loss"):
                    losses |= counted.losses(outputs, batch, progress)
            with counts.part("backward"):
                sum(losses.values()).backward()  # type: ignore[union-attr]
            with counts.part("update"):
                self.window.add(losses)
                self.state.update()
        return counts

    def weights(self) -> dict[str, torch.Tensor]:
        """The averaged weights, on the CPU."""
        return {name: bare(value) for name, value in self.state.result_model.state_dict().items()}
