"""The columns of the report: what each is called, where it comes from, how it is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evaluation.results import SELECTIONS
from tools.compare.groups import Group, Spread
from tools.compare.runs import FinishedRun

METRICS = {
    "AP50": "AP50",
    "AP75": "AP75",
    "AP_small": "AP small",
    "AP_medium": "AP medium",
    "AP_large": "AP large",
    "AR100": "AR",
}


@dataclass(frozen=True)
class Column:
    """One number of a run.

    Attributes:
        key: its name in the CSV files.
        heading: its name for people.
        digits: behind the point.
        of: gives it; None where there is nothing to measure.
    """

    key: str
    heading: str
    digits: int
    of: Callable[[FinishedRun], float | None]

    def spread(self, group: Group) -> Spread | None:
        """Mean and deviation over the seeds of a group."""
        return Spread.of(self.of(run) for run in group.runs)

    def show(self, group: Group) -> str:
        """As in "58.4 ± 0.3", without a deviation for one seed, and "-" for nothing."""
        found = self.spread(group)
        if found is None:
            return "-"
        apart = "" if found.deviation is None else f" ± {found.deviation:.{self.digits}f}"
        return f"{found.mean:.{self.digits}f}{apart}"


def metric(selection: str, name: str) -> Column:
    """A number that eval.json holds for a selection."""
    heading = f"{METRICS.get(name, name)}, {SELECTIONS[selection]}"
    return Column(f"{selection}/{name}", heading, 1, lambda run: run.result[selection].get(name))


def _duplicates(selection: str) -> Column:
    heading = f"duplicates per object, {SELECTIONS[selection]}"
    return Column(
        f"{selection}/duplicate_rate", heading, 2, lambda run: run.result[selection].get("duplicate_rate")
    )


def _training_minutes(run: FinishedRun) -> float | None:
    return None if run.training_seconds is None else run.training_seconds / 60


def _inference_ms(run: FinishedRun) -> float | None:
    seconds = run.result.get("inference_seconds")
    return None if seconds is None else 1000 * seconds / run.result["images"]


MAIN = (
    metric("nms", "AP"),
    metric("nms_free", "AP"),
    Column("gap", "gap", 1, lambda run: run.result["gap"]),
    _duplicates("nms_free"),
    Column("training_minutes", "train, min", 1, _training_minutes),
    Column("inference_ms", "infer, ms per image", 1, _inference_ms),
)
DETAILS = {selection: tuple(metric(selection, name) for name in METRICS) for selection in SELECTIONS}
ALL = (*MAIN, _duplicates("nms"), *DETAILS["nms"], *DETAILS["nms_free"])


def recipe(group: Group) -> str:
    """The recipe in few words: whose loss, how long, how fast."""
    settings = group.settings
    parts = [group.recipe, f"{settings.get('schedule.epochs')} epochs"]
    parts += [f"batch {settings.get('schedule.batch_size')}", f"lr {settings.get('schedule.lr')}"]
    return ", ".join(parts)


def seeds(group: Group) -> str:
    """How many, and which."""
    return f"{len(group.seeds)} ({', '.join(map(str, group.seeds))})"
