"""What folding BatchNorms into convolutions gains at inference: networks as trained and folded, in turns.

    python -m benchmarks.inference.fold
    python -m benchmarks.inference.fold models=[picodet_s] images=1 size=320

The network alone, without decoding and selection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from benchmarks.core.turns import machine, medians, table, write
from command_line import option, run
from detector.folded import folded
from engine.config.compose import compose_config
from engine.setup import build_model

CLASSES = 80


@dataclass
class Options:
    """What the command line can set."""

    models: list[str] = option(
        ["fcos_r50", "tood_r50", "fcos_mobilenet", "fcos_lcnet", "picodet_s", "picodet_l"],
        help="of configs/model",
    )
    images: int = option(4, least=1, help="of a batch")
    size: int = option(320, least=128, help="px, height and width")
    repeats: int = option(5, least=1, help="turns")
    device: str = option("cpu", help="cpu or cuda")
    out: str = option("benchmarks/results/inference", help="folder of fold.json and fold.md")


@torch.inference_mode()
def measure(options: Options, name: str) -> dict[str, Any]:
    """The medians of one network."""
    config = compose_config(f"model={name}", "data=shapes", "model.backbone.weights=null")
    torch.manual_seed(0)
    model = build_model(config, CLASSES).to(options.device).eval()
    model.to(memory_format=torch.channels_last)
    shape = (options.images, 3, options.size, options.size)
    images_B3HW = torch.randint(256, shape, dtype=torch.uint8).to(options.device)
    ways = {"trained": partial(model, images_B3HW), "folded": partial(folded(model), images_B3HW)}
    times = medians(ways, options.repeats, options.device)
    return {"model": name, **times, "ratio": times["trained"] / times["folded"]}


def bench(options: Options) -> None:
    """Measures, prints the table and writes it."""
    rows = [measure(options, name) for name in options.models]
    lines = [
        [row["model"], f"{1000 * row['trained']:.0f}", f"{1000 * row['folded']:.0f}", f"{row['ratio']:.2f}"]
        for row in rows
    ]
    about = (
        f"{options.images} images of {options.size}x{options.size} px, float32. Median of {options.repeats} "
        f"turns, {machine(options.device)}."
    )
    ratios = {f"{row['model']} / folded": row["ratio"] for row in rows}
    header = ("network", "as trained, ms", "folded, ms", "times as fast")
    write({"rows": rows, "ratios": ratios}, f"{about}\n\n{table(header, lines)}", options.out, "fold")


def main(words: Sequence[str] | None = None) -> None:
    """Times what the command line asks for."""
    run(Options, bench, __doc__, words)


if __name__ == "__main__":
    main()
