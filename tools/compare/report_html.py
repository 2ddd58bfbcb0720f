"""The report as one page that needs nothing else: no script, no font, no file beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from evaluation.bootstrap import Difference
from evaluation.results import SELECTIONS
from tools.compare.commands import commands
from tools.compare.groups import Group, Section, mean_ap
from tools.compare.intervals import Pair, best
from tools.compare.render import FOLDER, render
from tools.compare.report_chart import COLORS, gap_chart, interval_bar
from tools.compare.report_curves import charts
from tools.compare.report_table import DETAILS, MAIN, recipe, seeds
from tools.compare.report_text import INTERVAL_NOTE, MEASURE_NOTE, TITLE, Compared, also_text
from tools.compare.runs import FinishedRun

LOSS_NOTE = (
    "A line is the mean over seeds, the band their range. In the published recipe the losses of different "
    "assigners are different functions: their values cannot be compared."
)


def page(sections: Sequence[Section], compared: Compared, left_out: Mapping[str, str]) -> str:
    """The whole page. The same runs give the same bytes."""
    return render(
        "page.html",
        title=TITLE,
        style=Markup((FOLDER / "style.css").read_text()),
        colors=COLORS,
        selections=list(SELECTIONS.values()),
        main_headings=[column.heading for column in MAIN],
        details=[{"title": title, "headings": list(names.values())} for title, names in DETAILS.items()],
        measure_note=MEASURE_NOTE,
        interval_note=INTERVAL_NOTE,
        loss_note=LOSS_NOTE,
        sections=[_section(section, compared[section.title]) for section in sections],
        left_out=sorted(left_out.items()),
    )


def _section(section: Section, pairs: Sequence[Pair]) -> dict[str, Any]:
    bold = {f"{name}/AP": best(section, pairs, name) if pairs else set() for name in SELECTIONS}
    lines = [line for group in section.groups for line in commands(group.runs)]
    return {
        "title": section.title,
        "images": section.images,
        "gaps": _gaps(section),
        "rows": [_row(group, bold) for group in section.groups],
        "also": also_text(section),
        "pairs": _pairs(pairs),
        "pairs_differ": any(pair.also for pair in pairs),
        "charts": list(charts(section)),
        "errors": [found for group in section.groups for run in group.runs for found in _errors(group, run)],
        "commands": "\n".join(lines),
    }


def _gaps(section: Section) -> Markup | None:
    """The chart of both APs; None unless every row has them."""
    rows = []
    for group in section.groups:
        nms, free = (mean_ap(group, selection) for selection in SELECTIONS)
        if nms is None or free is None:
            return None
        rows.append((group.label, nms, free))
    return gap_chart(rows)


def _row(group: Group, bold: Mapping[str, set[str]]) -> dict[str, Any]:
    return {
        "label": group.label,
        "recipe": recipe(group),
        "seeds": seeds(group),
        "main": [
            {"text": column.show(group), "best": group.label in bold.get(column.key, ())} for column in MAIN
        ],
        "details": {
            title: [[column.show(group) for column in names.of(selection)] for selection in SELECTIONS]
            for title, names in DETAILS.items()
        },
    }


def _pairs(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    reach = {name: _reach([pair.differences[name] for pair in pairs]) for name in SELECTIONS}
    return [
        {
            "first": pair.first.label,
            "second": pair.second.label,
            "differences": [_difference(pair.differences[name], reach[name]) for name in SELECTIONS],
            "also": ", ".join(pair.also),
        }
        for pair in pairs
    ]


def _reach(found: Sequence[Difference]) -> float:
    """The end of the scale on which intervals are drawn."""
    return max([1e-9, *(abs(end) for one in found for end in (one.low, one.high) if end == end)])


def _difference(found: Difference, reach: float) -> dict[str, Any] | None:
    """None where there is nothing to compare."""
    if found.mean != found.mean:
        return None
    return {
        "mean": f"{found.mean:+.1f}",
        "low": f"{found.low:+.1f}",
        "high": f"{found.high:+.1f}",
        "clear": found.clear,
        "bar": interval_bar(found.mean, found.low, found.high, reach, found.clear),
    }


def _errors(group: Group, run: FinishedRun) -> Iterator[dict[str, str]]:
    """What tools.errors has left in the run directory."""
    picture, numbers = run.path / "pictures" / "errors.png", run.path / "errors.json"
    if picture.is_file() or numbers.is_file():
        yield {
            "title": f"{group.label}, seed {run.seed}",
            "picture": base64.b64encode(picture.read_bytes()).decode() if picture.is_file() else "",
            "numbers": _numbers(json.loads(numbers.read_text())) if numbers.is_file() else "",
        }


def _numbers(found: Any) -> str:
    return json.dumps(_rounded(found), indent=1)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: _rounded(member) for key, member in value.items()}
    return [_rounded(member) for member in value] if isinstance(value, list) else value
