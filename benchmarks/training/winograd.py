"""What Winograd's convolution gains: detector.winograd beside torch's own (oneDNN), float32, on the CPU.

    python -m benchmarks.training.winograd
    python -m benchmarks.training.winograd channels=[256] sides=[40] images=1

A step is forward and both gradients; inference has its kernel transformed before. The errors are those of
inference to float64, as shares of the largest output.
"""

from __future__ import annotations

import engine.host  # isort: skip  # noqa: F401  # as train.py and eval.py; before torch is imported

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from benchmarks.core.turns import machine, medians, table, write
from command_line import option, run
from detector.winograd import LEAST_CHANNELS, LEAST_TILES, use_winograd
from errors import UsageError

KINDS = ("inference", "step")
HEADER = ["channels", "map", "inference, ms: torch", "Winograd", "ratio"]
HEADER += ["step, ms: torch", "Winograd", "ratio", "error: torch", "Winograd"]


@dataclass
class Options:
    """What the command line can set."""

    images: int = option(4, least=1, help="of a batch")
    channels: list[int] = option([256, 512], help=f"of input and output, at least {LEAST_CHANNELS}")
    sides: list[int] = option([16, 20, 40], help="of the map")
    repeats: int = option(9, least=1, help="turns")
    out: str = option("benchmarks/results/training", help="folder of winograd.json and winograd.md")


def measure(images: int, channels: int, side: int, repeats: int) -> dict[str, Any]:
    """The medians and the errors of one convolution."""
    torch.manual_seed(0)
    shape = (images, channels, side, side)
    map_BNHW, gradient_BNHW = (
        torch.randn(shape).contiguous(memory_format=torch.channels_last) for _ in range(2)
    )
    torchs, trained, fixed = (
        nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
        for _ in range(3)
    )
    for layer in (trained, fixed):
        layer.load_state_dict(torchs.state_dict())
        use_winograd(layer)
    fixed.fixed = True  # type: ignore[assignment]

    def step(layer: nn.Conv2d) -> None:
        layer(map_BNHW.detach().requires_grad_()).backward(gradient_BNHW)
        layer.weight.grad = None

    @torch.inference_mode()
    def infer(layer: nn.Conv2d) -> Tensor:
        result: Tensor = layer(map_BNHW)
        return result

    ways: dict[str, Callable[[], object]] = {
        "inference, torch": lambda: infer(torchs),
        "inference, Winograd": lambda: infer(fixed),
        "step, torch": lambda: step(torchs),
        "step, Winograd": lambda: step(trained),
    }
    seconds = medians(ways, repeats)
    found = [infer(layer) for layer in (torchs, fixed)]
    exact = conv2d(map_BNHW.double(), torchs.weight.detach().double(), padding=1)
    errors = [float((values - exact).abs().max() / exact.abs().max()) for values in found]
    row = {"channels": channels, "side": side, "seconds": seconds, "errors": errors}
    return row | {kind: seconds[f"{kind}, torch"] / seconds[f"{kind}, Winograd"] for kind in KINDS}


def bench(options: Options) -> None:
    """Measures, prints the table and writes it.

    Raises:
        UsageError: for fewer channels than the detector takes this way.
    """
    if min(options.channels) < LEAST_CHANNELS:
        raise UsageError(f"channels={min(options.channels)} must be at least {LEAST_CHANNELS}.")
    rows = [
        measure(options.images, channels, side, options.repeats)
        for channels, side in product(options.channels, options.sides)
    ]
    lines = []
    for row in rows:
        times = [f"{1000 * seconds:.1f}" for seconds in row["seconds"].values()]
        size = f"{row['side']}x{row['side']}"
        gains = [f"{row[kind]:.2f}" for kind in KINDS]
        errors = [f"{error:.0e}" for error in row["errors"]]
        lines.append([str(row["channels"]), size, *times[:2], gains[0], *times[2:], gains[1], *errors])
    about = (
        f"3x3 convolutions of {options.images} maps, float32. Median of {options.repeats} turns, "
        f"{machine()}. The detector takes Winograd's algorithm for {LEAST_TILES} tiles of 4x4 or more."
    )
    ratios = {
        f"torch / Winograd, {kind}, {row['channels']} channels, {row['side']}": row[kind]
        for row in rows
        for kind in KINDS
    }
    write({"rows": rows, "ratios": ratios}, f"{about}\n\n{table(HEADER, lines)}", options.out, "winograd")


def main(words: Sequence[str] | None = None) -> None:
    """Times what the command line asks for."""
    run(Options, bench, __doc__, words)


if __name__ == "__main__":
    main()
