"""The columns of the report: what each is called, where it comes from, how it is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evaluation.results import SELECTIONS
from tools.compare.groups import Group, Spread
from tools.compare.runs import FinishedRun


@dataclass(frozen=True)
class Column:
    """One number of a run.

    Attributes:
        key: its name in the CSV files.
        heading: its name in tables.
        digits: behind the point.
        of: gives it; None where there is nothing to measure, or an older run did not measure it.
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


class Names(dict[str, str]):
    """Names of numbers in eval.json, with their headings."""

    def of(self, selection: str) -> list[Column]:
        """The columns of a selection."""
        return [metric(selection, name, heading) for name, heading in self.items()]


# Tables behind the main one: those of COCO, and what shows whether detections can be used as they are.
DETAILS = {
    "By IoU and size": Names(
        AP50="AP50", AP75="AP75", AP_small="AP small", AP_medium="AP medium", AP_large="AP large", AR100="AR"
    ),
    "Duplicates, scores and crowds": Names(
        duplicate_rate="duplicates per object",
        usable_recall="usable recall",
        usable_precision="usable precision",
        calibration_error="calibration error",
        AP_crowded="AP, crowded half",
        AP_300="AP, 300 detections",
    ),
}
DIGITS = {"duplicate_rate": 2, "calibration_error": 3}


def metric(selection: str, name: str, heading: str | None = None) -> Column:
    """A number that eval.json holds for a selection."""
    heading = f"{heading or name}, {SELECTIONS[selection]}"
    return Column(
        f"{selection}/{name}", heading, DIGITS.get(name, 1), lambda run: run.result[selection].get(name)
    )


def _training_minutes(run: FinishedRun) -> float | None:
    return None if run.training_seconds is None else run.training_seconds / 60


def _inference_ms(run: FinishedRun) -> float | None:
    seconds = run.result.get("inference_seconds")
    return None if seconds is None else 1000 * seconds / run.result["images"]


MAIN = (
    metric("nms", "AP"),
    metric("nms_free", "AP"),
    Column("gap", "gap", 1, lambda run: run.result.get("gap")),
    metric("nms_free", "duplicate_rate", "duplicates per object"),
    metric("nms", "usable_recall", "usable recall"),
    metric("nms_free", "usable_recall", "usable recall"),
    Column("training_minutes", "train, min", 1, _training_minutes),
    Column("inference_ms", "infer, ms per image", 1, _inference_ms),
)
_REST = [column for selection in SELECTIONS for names in DETAILS.values() for column in names.of(selection)]
ALL = tuple({column.key: column for column in (*MAIN, *_REST)}.values())


def recipe(group: Group) -> str:
    """The recipe in few words: whose loss, how long, how fast."""
    if group.foreign:
        return "foreign results"
    settings = group.settings
    parts = [group.recipe, f"{settings.get('schedule.epochs')} epochs"]
    parts += [f"batch {settings.get('schedule.batch_size')}", f"lr {settings.get('schedule.lr')}"]
    return ", ".join(parts)


def seeds(group: Group) -> str:
    """How many, and which."""
    return f"{len(group.seeds)} ({', '.join(map(str, group.seeds))})"
