"""Which runs are one row of a table, and which rows stand in one table.

Runs whose configs differ in the seed alone are a group: one row, with mean and standard deviation. Groups
that were evaluated on the same truths share a table, and what else they differ in is named there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, stdev
from typing import Any

from engine.config.compose import flatten
from engine.log.report import assigner_title
from engine.run.directory import FREE
from errors import UsageError
from tools.compare.commands import hydra_text
from tools.compare.runs import FinishedRun

# Where a run lies, its seed, and what only says when a run is evaluated.
NOT_PART = (*FREE, "name", "seed", "data.root", "eval.every", "eval.metric")
# What decides the truths of the validation set.
TRUTHS = (
    "data.name",
    "data.kind",
    "data.val",
    "data.images.val",
    "data.size",
    "data.crowd",
    "data.categories",
)
# What an assigner brings along by its file in configs/assigner, and a recipe in its place.
OF_ASSIGNER = ("assigner", "loss", "recipe", "model.head.quality", "predictors", "eval.predictor")


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone, sorted by it.

    Attributes:
        settings: the keys and values that they share.
        label: its name in the table, unique there.
    """

    runs: tuple[FinishedRun, ...]
    settings: dict[str, Any]
    label: str = ""

    @property
    def assigner(self) -> str:
        return str(self.settings.get("assigner.name", "?"))

    @property
    def foreign(self) -> bool:
        """Whether these are results of another program."""
        return self.runs[0].foreign

    @property
    def recipe(self) -> str:
        """Published or controlled: the controlled one leaves no node of its own in a config."""
        named = self.runs[0].config.get("recipe", "controlled")
        return named if isinstance(named, str) else "published"

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.seed for run in self.runs)


@dataclass(frozen=True)
class Section:
    """One data set: the groups of one table, best NMS-free AP first.

    Attributes:
        also: keys that the groups differ in besides assigner and loss, with their values.
    """

    title: str
    images: int
    groups: tuple[Group, ...]
    also: dict[str, list[Any]]


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds; no deviation for one seed."""

    mean: float
    deviation: float | None

    @staticmethod
    def of(values: Iterable[float | None]) -> Spread | None:
        """None where a run has nothing to measure."""
        there = list(values)
        numbers = [value for value in there if value is not None]
        if not numbers or len(numbers) < len(there):
            return None
        return Spread(mean(numbers), stdev(numbers) if len(numbers) > 1 else None)


def sections(runs: Sequence[FinishedRun]) -> list[Section]:
    """All runs in tables, in the order in which their data sets come.

    Raises:
        UsageError: if two runs have the same config and seed, or counted different images of one data set.
    """
    by_truths: dict[str, list[FinishedRun]] = {}
    for run in runs:
        if not run.foreign:
            by_truths.setdefault(_key(_truths(run)), []).append(run)
    for run in runs:
        if run.foreign:
            by_truths.setdefault(_beside(run, by_truths), []).append(run)
    names = [str(members[0].config["data"]["name"]) for members in by_truths.values()]
    titles = []
    for name, members in zip(names, by_truths.values(), strict=True):
        alike = [other[0] for other, same in zip(by_truths.values(), names, strict=True) if same == name]
        own = [
            f", {key}={hydra_text(_truths(members[0]).get(key, 'absent'))}"
            for key in _differing([_truths(run) for run in alike])
        ]
        titles.append(name + "".join(own))
    return [_section(title, members) for title, members in zip(titles, by_truths.values(), strict=True)]


def _beside(foreign: FinishedRun, by_truths: dict[str, list[FinishedRun]]) -> str:
    """The key of the data set that foreign results belong to, by its name."""
    name = foreign.config["data"]["name"]
    keys = [key for key, runs in by_truths.items() if runs[0].config["data"]["name"] == name]
    if len(keys) > 1:
        raise UsageError(f"{foreign.path}: several data sets here are named {name}; compare one at a time")
    return keys[0] if keys else _key(_truths(foreign))


def differing(groups: Sequence[Group], besides: Sequence[str] = ()) -> dict[str, list[Any]]:
    """The keys in which groups differ, and the value of each group; nothing is known of foreign ones."""
    found = _differing([group.settings for group in groups if not group.foreign])
    return {key: values for key, values in found.items() if not _is(key, besides)}


def _differing(settings: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    keys = sorted(set[str]().union(*settings))
    values = {key: [one.get(key, "absent") for one in settings] for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def _section(title: str, runs: Sequence[FinishedRun]) -> Section:
    by_settings: dict[str, list[FinishedRun]] = {}
    for run in runs:
        by_settings.setdefault(_key(_settings(run)), []).append(run)
    groups = [_group(members) for members in by_settings.values()]
    counts = {str(run.path): run.result.get("images") for run in runs}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{path}: {count}" for path, count in counts.items())
        raise UsageError(
            f"runs of one data set were evaluated on different numbers of images: {listed}; evaluate them "
            "again with python eval.py run=DIR, or give each its own data.name"
        )
    labels = _labels(groups)
    named = [Group(group.runs, group.settings, label) for group, label in zip(groups, labels, strict=True)]
    named.sort(
        key=lambda group: (-(mean_ap(group, "nms_free") or 0.0), -(mean_ap(group, "nms") or 0.0), group.label)
    )
    return Section(title, int(runs[0].result["images"]), tuple(named), differing(named, OF_ASSIGNER))


def mean_ap(group: Group, selection: str) -> float | None:
    """AP over the seeds of a group."""
    spread = Spread.of(run.result[selection].get("AP") for run in group.runs)
    return None if spread is None else spread.mean


def _group(runs: Sequence[FinishedRun]) -> Group:
    ordered = tuple(sorted(runs, key=lambda run: run.seed))
    for run, other in pairwise(ordered):
        if run.seed == other.seed:
            raise UsageError(
                f"{run.path} and {other.path} are the same run, config and seed {run.seed}: name one of them"
            )
    return Group(ordered, _settings(ordered[0]))


def _labels(groups: Sequence[Group]) -> list[str]:
    """The assigner, then what else is needed to tell the rows apart."""
    models = {group.settings.get("model.name") for group in groups if not group.foreign}
    plain = []
    for group in groups:
        if group.foreign:
            plain.append(group.assigner)
            continue
        label = assigner_title(group.assigner)
        label += f", {group.settings.get('model.name')}" if len(models) > 1 else ""
        plain.append(label + (f", {group.recipe}" if group.recipe != "published" else ""))
    labels = []
    for label, group in zip(plain, groups, strict=True):
        alike = [other for other, same in zip(groups, plain, strict=True) if same == label]
        if group.foreign and len(alike) > 1:
            raise UsageError(
                f"{group.runs[0].path}: another row is called {label}; give this one its own name"
            )
        # What an assigner brings along is many keys, and mostly follows from the others.
        short = differing(alike, OF_ASSIGNER[1:])
        distinct = len({_key({key: one.settings.get(key) for key in short}) for one in alike})
        keys = short if distinct == len(alike) else differing(alike)
        values = {key: hydra_text(group.settings.get(key, "absent")) for key in keys}
        labels.append(label + "".join(f", {key}={value}" for key, value in values.items()))
    return labels


def _settings(run: FinishedRun) -> dict[str, Any]:
    return {key: value for key, value in flatten(run.config).items() if not _is(key, NOT_PART)}


def _truths(run: FinishedRun) -> dict[str, Any]:
    return {key: value for key, value in flatten(run.config).items() if _is(key, TRUTHS)}


def _is(key: str, names: Sequence[str]) -> bool:
    return any(key == name or key.startswith(name + ".") for name in names)


def _key(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, default=str)
