"""Which share of a training step is assignment? FCOS R50 at 640 px, the losses of the papers.

    python -m benchmarks.share                           # --batch 2 on a CPU
    python -m benchmarks.share --device cuda --batch 16

A step is forward, decoding, assignment, losses, backward and clipping; the optimizer is left out, which makes
the share of assignment rather larger.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from assigners import Assigner, GroundTruth
from benchmarks.assigners import ASSIGNERS, TITLES
from benchmarks.cases import CLASSES, STRIDES, Case
from detector.decode import decode
from detector.detector import Detector
from detector.scheduled_loss import Loss, build_criterion
from engine.config.compose import compose_config
from engine.setup import build_assigner, build_model


def clock(device: str) -> float:
    """Seconds, once the work that was asked for is done."""
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def step(
    model: Detector,
    criterion: Loss,
    assigner: Assigner,
    images_B3HW: Tensor,
    truth: GroundTruth,
) -> tuple[float, float]:
    """Milliseconds of a whole step and of the assignment in it."""
    device = images_B3HW.device.type
    start = clock(device)
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        outputs = model(images_B3HW)
    predictions = decode(outputs)
    before = clock(device)
    assignment = assigner(outputs.grid, predictions, truth, 0.5)
    after = clock(device)
    torch.stack(list(criterion(outputs, truth, assignment, 0.5).values())).sum().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
    model.zero_grad(set_to_none=True)
    return 1000 * (clock(device) - start), 1000 * (after - before)


def main() -> None:
    parser = argparse.ArgumentParser(description="The share of assignment in a training step.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--boxes", type=int, default=7, help="truths per image")
    parser.add_argument("--repeats", type=int, default=7)
    words = parser.parse_args()
    table = Table("assigner", "step, ms", "assignment, ms", "share, %", title=f"batch {words.batch}, 640x640")
    for name in ASSIGNERS:
        fixed = ("data.root=.", "model.backbone.weights=null", "logger=none")
        config = compose_config("experiment=coco_fcos_r50_1x", f"assigner={name}", *fixed)
        model = build_model(config, CLASSES).to(words.device).train()
        model = model.to(memory_format=torch.channels_last)
        criterion = build_criterion(config.loss, config.model.head.quality)
        images = torch.randint(256, (words.batch, 3, 640, 640), dtype=torch.uint8, device=words.device)
        truth = Case("", 640, 640, STRIDES, (words.boxes,) * words.batch).draw(device=words.device)[2]
        one = partial(step, model, criterion, build_assigner(config), images, truth)
        one()
        times = [one() for _ in range(words.repeats)]
        whole, assignment = (median(values) for values in zip(*times, strict=True))
        table.add_row(TITLES[name], f"{whole:,.0f}", f"{assignment:.1f}", f"{100 * assignment / whole:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
