"""The numbers of the gap report: per data set and row, and the means over data sets.

Shape legend: S trainings (seeds) of a row, U the set itself and the draws of its images.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.bootstrap import Difference, interval_over_sets, seeded_interval
from tools.compare.commands import commands
from tools.compare.groups import Group, Section, Spread
from tools.compare.intervals import resampled_runs

# Words of a command that name the data and the training, not the row; but these keys do.
NOT_OF_ROW = ("data", "seed", "name", "setting", "schedule", "eval")
OF_ROW = ("eval.peak_window", "eval.predictor")


@dataclass(frozen=True)
class GapRow:
    """A row on one data set. A number is the mean over seeds; None: an older run did not measure it.

    Attributes:
        data: the data set.
        label: the row.
        seeds: how many trainings.
        metric: AP, or AP_300 where an image of the set holds over 100 objects.
        gap: AP with NMS minus AP without, with its interval over images and seeds.
        other_nms: AP with NMS of the best other predictor, where the detector has several.
        group: its runs.
    """

    data: str
    label: str
    seeds: int
    metric: str
    nms: float
    nms_free: float
    gap: Difference
    duplicates: float | None
    recall_nms: float | None
    recall: float | None
    other_nms: float | None
    group: Group


@dataclass(frozen=True)
class MeanRow:
    """The means of a row over all data sets, with intervals over sets.

    Attributes:
        recall_share: usable recall NMS-free as a share of that with NMS, 0 to 1.
        behind: NMS-free AP minus the best AP with NMS of any row on the same set.
        groups: its runs, set by set.
    """

    label: str
    nms: float
    nms_free: float
    gap: Difference
    behind: Difference
    duplicates: float | None
    recall_share: float | None
    groups: tuple[Group, ...]


def of_sections(sections: Sequence[Section], resamples: int, seed: int) -> list[GapRow]:
    """Every row that has both selections, data set by data set, best NMS-free AP first."""
    rows = []
    for section in sections:
        groups = [g for g in section.groups if all(run.result.get("gap") is not None for run in g.runs)]
        runs = [run for group in groups for run in group.runs]
        if not runs:
            continue
        many = all(run.result[s].get("AP_300") is not None for run in runs for s in ("nms", "nms_free"))
        metric = "AP_300" if many else "AP"
        found = resampled_runs(runs, resamples, seed, metric)
        for group in groups:
            nms_SU, free_SU = (
                np.array([found[run.path, selection] for run in group.runs])
                for selection in ("nms", "nms_free")
            )
            gap = seeded_interval(nms_SU - free_SU, seed)
            rows.append(_row(section.title, group, metric, (nms_SU[:, 0].mean(), free_SU[:, 0].mean()), gap))
    return rows


def _row(data: str, group: Group, metric: str, ap: tuple[float, float], gap: Difference) -> GapRow:
    def mean(selection: str, name: str) -> float | None:
        spread = Spread.of(run.result[selection].get(name) for run in group.runs)
        return None if spread is None else spread.mean

    others = set.intersection(*(set(run.result.get("others", {})) for run in group.runs))
    best = [Spread.of(run.result["others"][name]["nms"].get(metric) for run in group.runs) for name in others]
    return GapRow(
        data, group.label, len(group.runs), metric, float(ap[0]), float(ap[1]), gap,
        duplicates=mean("nms_free", "duplicate_rate"),
        recall_nms=mean("nms", "usable_recall"),
        recall=mean("nms_free", "usable_recall"),
        other_nms=max((spread.mean for spread in best if spread is not None), default=None),
        group=group,
    )  # fmt: skip


def by_label(rows: Sequence[GapRow]) -> dict[str, dict[str, GapRow]]:
    """The rows of each label, by data set."""
    found: dict[str, dict[str, GapRow]] = {}
    for row in rows:
        found.setdefault(row.label, {})[row.data] = row
    return found


def means(rows: Sequence[GapRow]) -> list[MeanRow]:
    """One row per label that has every data set, best NMS-free AP first: other means would not compare."""
    best_nms: dict[str, float] = {}
    for row in rows:
        best_nms[row.data] = max(row.nms, row.other_nms or 0.0, best_nms.get(row.data, 0.0))
    found = [
        _mean(label, list(own.values()), best_nms)
        for label, own in by_label(rows).items()
        if own.keys() == best_nms.keys()
    ]
    return sorted(found, key=lambda row: (-row.nms_free, row.label))


def labels_in_order(rows: Sequence[GapRow], over_sets: Sequence[MeanRow]) -> list[str]:
    """The labels of all rows: those with means in their order, then those that lack data sets."""
    return list(dict.fromkeys([*(row.label for row in over_sets), *(row.label for row in rows)]))


def _mean(label: str, own: Sequence[GapRow], best_nms: dict[str, float]) -> MeanRow:
    duplicates = [row.duplicates for row in own if row.duplicates is not None]
    shares = [row.recall / row.recall_nms for row in own if row.recall is not None and row.recall_nms]
    return MeanRow(
        label,
        nms=float(np.mean([row.nms for row in own])),
        nms_free=float(np.mean([row.nms_free for row in own])),
        gap=interval_over_sets([row.gap.mean for row in own]),
        behind=interval_over_sets([row.nms_free - best_nms[row.data] for row in own]),
        duplicates=float(np.mean(duplicates)) if len(duplicates) == len(own) else None,
        recall_share=float(np.mean(shares)) if len(shares) == len(own) else None,
        groups=tuple(row.group for row in own),
    )


def best_row(over_sets: Sequence[MeanRow]) -> MeanRow | None:
    """The row of runs with the best mean NMS-free AP."""
    return next((row for row in over_sets if not row.groups[0].foreign), None)


def words(row: MeanRow) -> list[str]:
    """What one adds to `python train.py` for a row: the words that its commands for all data sets share."""
    # Found for one row alone: each command takes seconds.
    lines = [
        [word for word in shlex.split(commands(group.runs)[0])[2:] if _of_row(word)] for group in row.groups
    ]
    return [word for word in lines[0] if all(word in line for line in lines)]


def _of_row(word: str) -> bool:
    key = word.lstrip("+").partition("=")[0]
    return word != "-m" and (key in OF_ROW or key.partition(".")[0] not in NOT_OF_ROW)
