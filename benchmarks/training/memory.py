"""Peak memory of a training step of FCOS R50 beside torchvision's fcos_resnet50_fpn, the same as in step.py.

    python -m benchmarks.training.memory                   # 4 images of 320x320 on the CPU
    python -m benchmarks.training.memory images=16 size=800 device=cuda

Each network takes two steps in a process of its own. What is counted is how far memory rises in the second
one above what weights, momentum and images already occupy: activations, gradients and temporaries.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.core.cost import peak_megabytes
from benchmarks.core.process import output_of
from benchmarks.core.turns import machine, table, write
from benchmarks.training.step import STEP, THEIRS, Ours, Theirs, Workload, draw
from command_line import option, run

NETWORKS: dict[str, type[Theirs] | type[Ours]] = {THEIRS: Theirs, STEP: Ours}


@dataclass
class Options(Workload):
    """What the command line can set."""

    out: str = option("benchmarks/results/training", help="folder of memory.json and memory.md")
    network: str | None = option(None, choices=tuple(NETWORKS), help="print this one's figure and end")


def second_step(options: Options) -> float:
    """Megabytes of the second step of one network in this process."""
    images, truth = draw(options)
    network = NETWORKS[str(options.network)](options, images, truth)
    bf16 = options.precisions[0] == "bf16"
    network.step(bf16)
    network.model.zero_grad()  # torchvision's script keeps gradients until the next step
    return peak_megabytes(partial(network.step, bf16), options.device)[1]


def in_fresh_process(options: Options, network: str, precision: str) -> float:
    """The same in a process of its own, so that nothing freed before is used again unseen."""
    words = [f"{key}={getattr(options, key)}" for key in ("images", "size", "boxes", "device")]
    words += [f"network={network}", f"precisions=[{precision}]"]
    command = [sys.executable, "-m", "benchmarks.training.memory", *words]
    return float(json.loads(output_of(command).splitlines()[-1]))


def bench(options: Options) -> None:
    """Measures, prints the table and writes it."""
    if options.network is not None:
        print(json.dumps(second_step(options)))
        return
    rows: list[dict[str, Any]] = []
    for precision in options.precisions:
        found = {network: in_fresh_process(options, network, precision) for network in NETWORKS}
        rows += [
            {"name": name, "precision": precision, "megabytes": value, "share": value / found[THEIRS]}
            for name, value in found.items()
        ]
    lines = [
        [row["name"], row["precision"], f"{row['megabytes']:.0f}", f"{row['share']:.2f}"] for row in rows
    ]
    about = (
        f"A training step of FCOS with ResNet-50, {options.images} images of {options.size}x{options.size} "
        f"px with {options.boxes} boxes, {machine(options.device)}."
    )
    ratios = {
        f"{THEIRS} / {STEP}, {row['precision']}": 1 / row["share"] for row in rows if row["name"] == STEP
    }
    header = ("", "precision", "MB", "times torchvision's")
    write({"rows": rows, "ratios": ratios}, f"{about}\n\n{table(header, lines)}", options.out, "memory")


def main(words: Sequence[str] | None = None) -> None:
    """Measures what the command line asks for."""
    run(Options, bench, __doc__, words)


if __name__ == "__main__":
    main()
