"""How far SimOTA is from what it cannot avoid: counts and times.

    python -m benchmarks.assigners.floor                  # on the crowd of cases.py
    python -m benchmarks.assigners.floor case="7 boxes"   # on the first case whose name holds this

The floor holds the work that the definition asks for, each part by one plain pass over its data: the class
cost of all foreground points, the IoU of every pair of a truth and a point of its region, one count of those
pairs by truth, and the IoUs that enter a dynamic k. Finding these last ones, and gathering, come on top.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from assigners import SimOTA
from assigners.core.boxes import iou, take
from assigners.core.dynamic_k import background_cost, foreground
from assigners.core.overlaps import blocks_of, overlapping
from assigners.simota import _bce_background
from benchmarks.assigners.cases import CASES
from benchmarks.assigners.measure import PROGRESS
from benchmarks.core.turns import machine, medians, table, write
from command_line import option, run
from errors import UsageError


@dataclass
class Options:
    """What the command line can set."""

    case: str = option(CASES[-1].name, help="part of the name of the batch")
    repeats: int = option(7, least=1, help="turns")
    out: str = option("benchmarks/results/assigners", help="folder of floor.json and floor.md")


def bench(options: Options) -> None:
    """Measures, prints the table and writes it."""
    found = [case for case in CASES if options.case in case.name]
    if not found:
        raise UsageError(f"case={options.case}: the batches are {'; '.join(case.name for case in CASES)}")
    case = found[0]
    assigner = SimOTA()
    grid, predictions, truth = case.draw()
    pairs, _, _ = assigner._region(grid, truth.boxes_G4)
    cell_M = pairs.cells(truth, len(grid))
    cell_F = foreground(cell_M, predictions)
    blocks = blocks_of(predictions, cell_F)
    overlaps = sum(
        int((iou(blocks.boxes(block_RT), truth.boxes_G4[truth_R, None]) > 0).sum())
        for truth_R, block_RT in overlapping(blocks, truth)
    )
    boxes_M4 = take(predictions.boxes_BP4.flatten(0, 1), cell_M)
    truth_M4 = take(truth.boxes_G4, pairs.truth_M)
    best_N4 = torch.rand(len(truth) * assigner.candidate_topk, 4)
    parts: dict[str, Callable[[], Any]] = {
        f"class costs of {len(cell_F):,} foreground points": partial(
            background_cost, predictions, cell_F, _bce_background
        ),
        f"IoU of {len(cell_M):,} pairs of the regions": partial(iou, boxes_M4, truth_M4),
        "a count of those pairs": partial(torch.bincount, pairs.truth_M),
        f"IoU of the {len(best_N4):,} pairs that make up the dynamic k": partial(iou, best_N4, best_N4),
    }
    whole = partial(assigner, grid, predictions, truth, PROGRESS)
    times = medians({**parts, "SimOTA": whole}, options.repeats)
    floor = sum(times[name] for name in parts)
    times = {**{name: times[name] for name in parts}, "together: the floor": floor, "SimOTA": times["SimOTA"]}
    lines = [[name, f"{1000 * taken:.1f}", f"{taken / floor:.2f}"] for name, taken in times.items()]
    about = (
        f"{case.name}; {overlaps:,} pairs of a truth and a predicted foreground box overlap at all. "
        f"Median of {options.repeats} turns, {machine()}."
    )
    report = {"case": case.name, "seconds": times, "ratios": {"floor / SimOTA": floor / times["SimOTA"]}}
    write(report, f"{about}\n\n{table(('', 'ms', 'of the floor'), lines)}", options.out, "floor")


def main(words: Sequence[str] | None = None) -> None:
    """Times what the command line asks for."""
    run(Options, bench, __doc__, words)


if __name__ == "__main__":
    main()
