"""What one call costs on a GPU besides arithmetic: operations that start a kernel, and waits of the host.

    python -m benchmarks.assigners.launches            # every assigner, 16 images of 640x640, 1 to 100 boxes

Counted on the CPU by a dispatch mode, so no GPU is needed. Views start no kernel and are left out. A wait is
an operation whose result, or whose shape, the host must know before it can go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from assigners import ATSS, DSLA, FCOS, O2F, POTO, SimOTA, TaskAligned
from benchmarks.assigners.cases import STRIDES, Case
from benchmarks.core.turns import table, write
from command_line import option, run

IMAGES = 16
WAITS = (
    "_local_scalar_dense", "nonzero", "masked_select", "unique", "bincount", "equal", "is_nonzero"
)  # fmt: skip
ASSIGNERS = {
    "ATSS": ATSS(), "TAL": TaskAligned(), "O2F": O2F(), "FCOS": FCOS(), "SimOTA": SimOTA(), "DSLA": DSLA(),
    "POTO": POTO(),
}  # fmt: skip


class Launches(TorchDispatchMode):
    """Counts what runs within it.

    Attributes:
        operations, waits: by the name of the operation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if not is_view(func):
            self.operations[func.overloadpacket.__name__] += 1
        if waits(func, args, kwargs or {}):
            self.waits[func.overloadpacket.__name__] += 1
        return func(*args, **kwargs or {})


def is_view(func: Any) -> bool:
    """Whether the operation returns another look at its input, by its schema."""
    aliases = [result.alias_info for result in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def waits(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the host must wait for the device: the result is a number, or its shape depends on values."""
    name = func.overloadpacket.__name__
    if name == "repeat_interleave":
        return kwargs.get("output_size") is None
    if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
        return any(
            isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
    return any(name == known or name.startswith(f"{known}_") or name == f"_{known}2" for known in WAITS)


def counted(call: Callable[[], Any]) -> Launches:
    """What a call starts and waits for."""
    with Launches() as seen:
        call()
    return seen


@dataclass
class Options:
    """What the command line can set."""

    boxes: list[int] = option([1, 7, 30, 100], help="of an image")
    out: str = option("benchmarks/results/assigners", help="folder of launches.json and launches.md")


def bench(options: Options) -> None:
    """Counts, prints the table and writes it."""
    rows: list[dict[str, Any]] = []
    for name, assigner in ASSIGNERS.items():
        for count in options.boxes:
            inputs = Case("", 640, 640, STRIDES, (count,) * IMAGES).draw()
            seen = counted(partial(assigner, *inputs, 0.5))
            counts = {"operations": seen.operations.total(), "waits": seen.waits.total()}
            rows.append({"assigner": name, "boxes": count, **counts})
    ratios = {
        f"{row['assigner']}: boxes per operation, {row['boxes']} an image": IMAGES
        * row["boxes"]
        / row["operations"]
        for row in rows
    }
    cells = {(row["assigner"], row["boxes"]): f"{row['operations']} / {row['waits']}" for row in rows}
    lines = [[name, *(cells[name, count] for count in options.boxes)] for name in ASSIGNERS]
    header = ("operations / waits", *(f"{count} boxes" for count in options.boxes))
    about = f"{IMAGES} images of 640x640 px."
    write({"rows": rows, "ratios": ratios}, f"{about}\n\n{table(header, lines)}", options.out, "launches")


def main(words: Sequence[str] | None = None) -> None:
    """Counts what the command line asks for."""
    run(Options, bench, __doc__, words)


if __name__ == "__main__":
    main()
