"""What a run consists of, built from its config. All input is checked here, before the first step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from timm.layers import convert_sync_batchnorm
from torch.nn.modules.batchnorm import _BatchNorm

from data.loader import TrainLoader, eval_loader, train_loader
from data.sample import DetectionDataset
from detector.detector import Detector
from detector.summary import summary
from engine import distributed
from engine.evaluator import Evaluator
from engine.initial_weights import start_from
from engine.predictors import Supervision, build_supervisions
from engine.setup import bf16, build_dataset, build_model, choose_device, sides
from engine.speed import compile_network, recompute_activations, set_switches
from engine.state import State
from errors import UsageError, listed


@dataclass
class Parts:
    """The parts of a run.

    Attributes:
        bf16: the network runs in bfloat16.
        batches: of this process, for training.
        eval_batches: how many batches of this process an evaluation has.
    """

    device: torch.device
    bf16: bool
    train_set: DetectionDataset
    val_set: DetectionDataset
    batches: TrainLoader
    evaluator: Evaluator
    eval_batches: int
    supervisions: list[Supervision]
    state: State


def build_parts(config: DictConfig, resumed: bool, console: Console) -> Parts:
    """Builds everything that training needs.

    Args:
        resumed: a checkpoint will bring the weights, so that none are fetched.
        console: where the size of the model is printed.

    Raises:
        UsageError: for anything wrong with config or data.
    """
    if config.speed.static_graph and config.schedule.accumulate > 1:
        raise UsageError("speed.static_graph=true does not go with schedule.accumulate: choose one of them")
    if config.speed.compile and config.speed.recompute:
        raise UsageError("speed.compile=true does not go with speed.recompute=true: choose one of them")
    device = distributed.own_device(choose_device(config.device))
    torch.manual_seed(config.seed)
    train_set = build_dataset(config.data, "train", config.seed, config.schedule.epochs)
    val_set = build_dataset(config.data, "val", config.seed)
    if train_set.class_names != val_set.class_names:
        raise UsageError(
            f"the splits differ in classes: train has {listed(train_set.class_names)}; "
            f"val has {listed(val_set.class_names)}: use one category list for both files"
        )
    supervisions = build_supervisions(config, device)
    model = build_model(config, len(train_set.class_names), pretrained=not resumed)
    short = config.data.eval_short
    size = (short, short if config.data.square else config.data.eval_long)
    console.print(summary(model, config.model.name, *size), soft_wrap=True, highlight=False)
    if config.init is not None and not resumed:
        started = start_from(Path(str(config.init)), model, train_set.class_names)
        console.print(started, soft_wrap=True, markup=False)
    if config.speed.sync_norm:
        model = _with_synchronised_norms(model, device)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    place: Any = {"rank": distributed.rank(), "ranks": distributed.ranks(), "pin": device.type == "cuda"}
    workers, accumulate = config.data.workers, config.schedule.accumulate
    batch_size = distributed.share(config.schedule.batch_size)
    batches = train_loader(
        train_set,
        batch_size,
        workers,
        config.seed,
        accumulate=accumulate,
        sides=sides(config.data) if config.data.square else (),
        **place,
    )
    eval_batches = eval_loader(val_set, config.eval.batch_size, workers, **place)
    in_bf16 = bf16(config.precision, device, model)
    if in_bf16 and config.precision == "auto":
        console.print(
            f"bfloat16, which this {'GPU' if device.type == 'cuda' else 'CPU'} computes natively "
            "(precision=float32 switches it off)",
            soft_wrap=True,
        )
    evaluator = Evaluator(val_set, eval_batches, config.eval, device, in_bf16)
    schedule: Any = OmegaConf.to_container(config.schedule, resolve=True)
    state = State(model, schedule, -(-len(batches) // accumulate), config.speed.fused)
    set_switches(config.speed)
    if config.speed.recompute:
        recompute_activations(model)
    if config.speed.compile:
        compile_network(model)
    if not distributed.is_main():
        torch.manual_seed(config.seed + distributed.rank())  # equal weights, but not equal dropout
    return Parts(
        device, in_bf16, train_set, val_set, batches, evaluator, len(eval_batches), supervisions, state
    )


def _with_synchronised_norms(model: Detector, device: torch.device) -> Detector:
    """The same model whose batch norms measure the images of all processes.

    Raises:
        UsageError: where torch cannot, on a CPU, or where norms are frozen, which measure nothing.
    """
    if device.type != "cuda":
        raise UsageError(f"speed.sync_norm=true needs GPUs, this is {device}: choose sync_norm=false")
    if any(isinstance(norm, _BatchNorm) and not norm.training for norm in model.train().modules()):
        raise UsageError("speed.sync_norm=true needs model.backbone.freeze_norm=none and freeze_stages=0")
    return cast(Detector, convert_sync_batchnorm(model))
