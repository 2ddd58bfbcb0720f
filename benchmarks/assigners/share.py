"""Which share of a training step is assignment? FCOS R50 at 640 px, the losses of the papers.

    python -m benchmarks.assigners.share                           # batch=2 on a CPU
    python -m benchmarks.assigners.share device=cuda batch=16

A step is forward, decoding, assignment, losses, backward and clipping; the optimizer is left out, which makes
the share of assignment rather larger.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor

from assigners import Assigner, GroundTruth
from benchmarks.assigners.cases import CLASSES, STRIDES, Case
from benchmarks.assigners.speed import ASSIGNERS, TITLES
from benchmarks.core.turns import machine, table, write
from command_line import option, run
from detector.decode import decode
from detector.detector import Detector
from detector.scheduled_loss import Loss, build_criterion
from engine.config.compose import compose_config
from engine.setup import build_assigner, build_model

HEADER = ("assigner", "step, ms", "assignment, ms", "share, %")


@dataclass
class Options:
    """What the command line can set."""

    device: str = option("cpu", help="cpu or cuda")
    batch: int = option(2, least=1, help="images of a step")
    boxes: int = option(7, least=1, help="ground-truth boxes of an image")
    size: int = option(640, least=64, help="px, square; a multiple of 32")
    assigners: list[str] = option(list(ASSIGNERS), choices=ASSIGNERS, help="to be timed")
    repeats: int = option(7, least=1, help="steps of each")
    out: str = option("benchmarks/results/assigners", help="folder of share.json and share.md")


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


def bench(options: Options) -> None:
    """Measures, prints the table and writes it."""
    rows = []
    for name in options.assigners:
        fixed = ("data.root=.", "model.backbone.weights=null", "logger=none")
        config = compose_config("experiment=coco_fcos_r50_1x", f"assigner={name}", *fixed)
        model = build_model(config, CLASSES).to(options.device).train()
        model = model.to(memory_format=torch.channels_last)
        criterion = build_criterion(config.loss, config.model.head.quality)
        shape = (options.batch, 3, options.size, options.size)
        images = torch.randint(256, shape, dtype=torch.uint8, device=options.device)
        sides = (min(16.0, options.size / 8), min(400.0, options.size / 2))
        case = Case("", options.size, options.size, STRIDES, (options.boxes,) * options.batch, sides)
        truth = case.draw(device=options.device)[2]
        one = partial(step, model, criterion, build_assigner(config), images, truth)
        one()
        times = [one() for _ in range(options.repeats)]
        whole, assignment = (median(values) for values in zip(*times, strict=True))
        rows.append({"assigner": name, "step_ms": whole, "assignment_ms": assignment})
    lines = [
        [
            TITLES[row["assigner"]],
            f"{row['step_ms']:,.0f}",
            f"{row['assignment_ms']:.1f}",
            f"{100 * row['assignment_ms'] / row['step_ms']:.2f}",
        ]
        for row in rows
    ]
    ratios = {f"step / {row['assigner']}": row["step_ms"] / row["assignment_ms"] for row in rows}
    about = (
        f"FCOS with ResNet-50, {options.batch} images of {options.size}x{options.size} px with "
        f"{options.boxes} boxes. Median of {options.repeats} steps, {machine(options.device)}."
    )
    write({"rows": rows, "ratios": ratios}, f"{about}\n\n{table(HEADER, lines)}", options.out, "share")


def main(words: Sequence[str] | None = None) -> None:
    """Times what the command line asks for."""
    run(Options, bench, __doc__, words)


if __name__ == "__main__":
    main()
