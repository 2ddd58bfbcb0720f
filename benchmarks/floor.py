"""How far SimOTA is from what it cannot avoid: counts and times.

    python -m benchmarks.floor            # on the crowd of cases.py
    python -m benchmarks.floor "7 boxes"  # on the first case whose name holds this

The floor holds the work that the definition asks for, each part by one plain pass over its data: the class
cost of all foreground points, the IoU of every pair of a truth and a point of its region, one count of those
pairs by truth, and the IoUs that enter a dynamic k. Finding these last ones, and gathering, come on top.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from assigners import SimOTA
from assigners.core.boxes import iou, take
from assigners.core.dynamic_k import background_cost, foreground
from assigners.core.overlaps import blocks_of, overlapping
from assigners.simota import _bce_background
from benchmarks.cases import CASES
from benchmarks.measure import PROGRESS, seconds

REPEATS = 7


def milliseconds(call: Callable[[], Any]) -> float:
    seconds(call, "cpu")
    return 1000 * median(seconds(call, "cpu") for _ in range(REPEATS))


def main(wanted: str) -> None:
    case = next(case for case in CASES if wanted in case.name)
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
    parts = {
        f"class costs of {len(cell_F):,} foreground points": milliseconds(
            lambda: background_cost(predictions, cell_F, _bce_background)
        ),
        f"IoU of {len(cell_M):,} pairs of the regions": milliseconds(lambda: iou(boxes_M4, truth_M4)),
        "a count of those pairs": milliseconds(lambda: torch.bincount(pairs.truth_M)),
        f"IoU of the {len(best_N4):,} pairs that make up the dynamic k": milliseconds(
            lambda: iou(best_N4, best_N4)
        ),
    }
    whole = milliseconds(lambda: assigner(grid, predictions, truth, PROGRESS))
    print(case.name)
    for name, taken in parts.items():
        print(f"{taken:9.1f} ms  {name}")
    print(f"{sum(parts.values()):9.1f} ms  together: the floor")
    print(f"{whole:9.1f} ms  SimOTA, {whole / sum(parts.values()):.1f} times the floor")
    print(f"{overlaps:,} pairs of a truth and a predicted foreground box overlap at all")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else CASES[-1].name)
