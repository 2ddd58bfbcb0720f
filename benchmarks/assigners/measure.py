"""Time and peak memory of one assignment of a batch.

As a program it makes one call in a process of its own, so that nothing which ran before hides what the call
needs, and prints {"seconds", "megabytes"}:

    python -m benchmarks.assigners.measure "matchpoint" atss "640x640 x16, 7 boxes"
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch

from assigners import ATSS, O2F, GroundTruth, PointGrid, Predictions, SimOTA, TaskAligned
from benchmarks.assigners.cases import CASES, STRIDES, Case
from benchmarks.core.cost import peak_megabytes
from benchmarks.peers import Peer, installed

PROGRESS = 0.5
OURS: dict[tuple[str, str], Callable[..., Any]] = {
    ("matchpoint", "atss"): ATSS(),
    ("matchpoint", "tal"): TaskAligned(),
    ("matchpoint, everywhere", "tal"): TaskAligned(candidates="everywhere"),
    ("matchpoint", "simota"): SimOTA(),
    ("matchpoint", "o2f"): O2F(),
}
WARM_UP = Case("warm-up", 128, 128, STRIDES, (1, 1))


def implementations(assigner: str) -> list[Peer]:
    """Ours and every installed peer of one assigner, ours first."""

    def own(call: Callable[..., Any]) -> Callable[[PointGrid, Predictions, GroundTruth], Callable[[], Any]]:
        return lambda grid, predictions, truth: lambda: call(grid, predictions, truth, PROGRESS)

    def dense(assigned: Any, grid: PointGrid, predictions: Predictions, truth: GroundTruth) -> Any:
        images = len(predictions.scores_BPC)
        truth_BP = assigned.dense(images, len(grid))
        score_BP = torch.zeros(images, len(grid), device=truth_BP.device)
        score_BP[assigned.image_K, assigned.point_K] = assigned.score_K
        return truth_BP, score_BP

    ours = [Peer(name, of, own(call), dense) for (name, of), call in OURS.items() if of == assigner]
    return ours + [peer for peer in installed() if peer.assigner == assigner]


def in_fresh_process(peer: Peer, case: Case, device: str, patience: float) -> dict[str, float] | str:
    """Seconds and megabytes of the first call, or why there is none: "> 60 s" or "out of memory"."""
    module = "benchmarks.assigners.measure"
    words = [sys.executable, "-m", module, peer.name, peer.assigner, case.name, device]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=patience + 30)
    except subprocess.TimeoutExpired:
        return f"> {patience:.0f} s"
    if done.returncode == 0:
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found if found["seconds"] <= patience else f"> {patience:.0f} s"
    if done.returncode < 0 or "memory" in done.stderr:
        return "out of memory"
    raise RuntimeError(f"{' '.join(words)} failed:\n{done.stderr}")


def _limit_memory() -> None:
    """A call that asks for more than there is should fail, not take the machine down."""
    import resource

    most = int(0.8 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def main() -> None:
    parser = argparse.ArgumentParser(description="One assignment in a process of its own.")
    parser.add_argument("name")
    parser.add_argument("assigner", choices=sorted({assigner for _, assigner in OURS}))
    parser.add_argument("case", choices=[case.name for case in CASES])
    parser.add_argument("device", nargs="?", default="cpu")
    words = parser.parse_args()
    peer = next(peer for peer in implementations(words.assigner) if peer.name == words.name)
    case = next(case for case in CASES if case.name == words.case)
    if words.device == "cpu":
        _limit_memory()
    peer.prepare(*WARM_UP.draw(device=words.device))()
    call = peer.prepare(*case.draw(device=words.device))
    taken, megabytes = peak_megabytes(call, words.device)
    print(json.dumps({"seconds": taken, "megabytes": megabytes}))


if __name__ == "__main__":
    main()
