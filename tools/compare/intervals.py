"""The differences between the groups of a table, with their bootstrap intervals, from stored predictions."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from data.loader import cores
from errors import UsageError
from evaluation.bootstrap import Difference, Floats, difference, resampled
from evaluation.coco_backends import LIMITS
from evaluation.coco_metrics import MANY
from evaluation.matching import match
from evaluation.results import SELECTIONS, read_results
from evaluation.truth import Truth
from tools.compare.groups import OF_ASSIGNER, Group, Section, differing
from tools.compare.runs import FinishedRun

PARALLEL_FROM = 1000  # images; below, processes take longer to start than to count
ROUNDING = 1e-3  # of AP in eval.json


@dataclass(frozen=True)
class Pair:
    """Two groups compared.

    Attributes:
        differences: of AP, first minus second, by selection.
        also: the keys in which they differ besides assigner and loss.
    """

    first: Group
    second: Group
    differences: dict[str, Difference]
    also: tuple[str, ...]


def compare(section: Section, resamples: int, seed: int = 0, against: str | None = None) -> list[Pair]:
    """All pairs of a table, in its order; or those of the row `against`, with that row second.

    With several seeds a group's AP on a draw is the mean over its runs, so the interval covers the choice
    of the images, and that of the seeds only in so far as they are averaged.

    Raises:
        UsageError: if the truths are gone, or do not give the AP that a run has stored.
    """
    pairs = _pairs(section.groups, against)
    runs = list({run.path: run for pair in pairs for group in pair for run in group.runs}.values())
    if not runs:
        return []
    found = resampled_runs(runs, resamples, seed)

    def of(group: Group, selection: str) -> Floats:
        return np.mean([found[run.path, selection] for run in group.runs], axis=0)

    return [
        Pair(
            first,
            second,
            {name: difference(of(first, name), of(second, name)) for name in SELECTIONS},
            tuple(differing((first, second), OF_ASSIGNER)),
        )
        for first, second in pairs
    ]


def resampled_runs(
    runs: Sequence[FinishedRun], resamples: int, seed: int, metric: str = "AP"
) -> dict[tuple[Path, str], Floats]:
    """AP of each run and selection of one data set, on the set itself and on each draw of its images.

    All runs share the draws. Where foreign results lack a selection, it is NaN.

    Args:
        metric: AP or AP_300, which counts up to 300 detections of an image and class.

    Raises:
        UsageError: as `compare`.
    """
    tasks = [(run, selection) for run in runs for selection in run.predictions]
    work = partial(_resampled, _truth(runs), resamples, seed, metric)
    workers = min(len(tasks), cores()) if runs[0].result["images"] >= PARALLEL_FROM else 1
    if workers > 1:
        # Spawned, not forked: torch's threads do not survive a fork.
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            results = list(pool.map(work, tasks))
    else:
        results = list(map(work, tasks))
    found = {(run.path, selection): ap_U for (run, selection), ap_U in zip(tasks, results, strict=True)}
    absent_U = np.full(1 + resamples, np.nan)
    return {(run.path, name): found.get((run.path, name), absent_U) for run in runs for name in SELECTIONS}


def _pairs(groups: Sequence[Group], against: str | None) -> list[tuple[Group, Group]]:
    if against is None:
        return list(combinations(groups, 2))
    bases = [group for group in groups if against in (group.label, group.assigner)]
    return [(group, base) for base in bases for group in groups if group not in bases]


def best(section: Section, pairs: Sequence[Pair], selection: str) -> set[str]:
    """The labels of the groups that no other one is clearly better than."""
    labels = {group.label for group in section.groups}
    for pair in pairs:
        found = pair.differences[selection]
        if found.clear:
            labels.discard((pair.second if found.mean > 0 else pair.first).label)
    return labels


def _truth(runs: Sequence[FinishedRun]) -> dict[str, Any]:
    """The ground truth of a table: that of a run, if there is one among the rows."""
    run = next((run for run in runs if not run.foreign), runs[0])
    if run.truth_json is not None:
        return run.truth_json
    from engine.setup import build_dataset  # brings torch, which the spawned processes do without

    try:
        return build_dataset(OmegaConf.create(run.config["data"]), "val", run.seed).coco_json()
    except UsageError as error:
        raise UsageError(
            f"the truths of {run.path} cannot be read: {error} (resamples=0 leaves the intervals out)"
        ) from error


def _resampled(
    truth_json: dict[str, Any], resamples: int, seed: int, metric: str, task: tuple[FinishedRun, str]
) -> Floats:
    """AP of one run on the set itself and on each draw."""
    run, selection = task
    truth, file = Truth(truth_json), run.predictions[selection]
    stored = run.result[selection][metric]
    limit = MANY if metric == "AP_300" else LIMITS[-1]
    changed = f"has the data changed? python eval.py run={run.path} evaluates it again"
    if run.foreign:
        changed = f"the ground truth is that of the runs beside it; is that of {run.path} another one?"
    try:
        ap_U = resampled(match(truth, read_results(file, truth), limit), resamples, seed)
    except UsageError as error:
        raise UsageError(f"{error}; {changed}") from error
    if stored is not None and abs(ap_U[0] - stored) > ROUNDING:
        raise UsageError(
            f"{file} and the ground truth do not give the {metric} of {stored} that was measured: {changed}"
        )
    return ap_U
