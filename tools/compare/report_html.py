"""The report as one page that needs nothing else: no script, no font, no file beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from evaluation.bootstrap import Difference
from evaluation.results import SELECTIONS
from tools.compare.commands import commands
from tools.compare.groups import Group, Section, mean_ap
from tools.compare.intervals import Pair, best
from tools.compare.report_chart import COLORS, gap_chart, interval_bar
from tools.compare.report_curves import charts
from tools.compare.report_table import DETAILS, MAIN, METRICS, recipe, seeds
from tools.compare.report_text import INTERVAL_NOTE, MEASURE_NOTE, Compared, also_text
from tools.compare.runs import FinishedRun

STYLE = Path(__file__).with_name("report_style.css")
BEST_NOTE = "Bold: no other row is clearly better."
LOSS_NOTE = (
    "A line is the mean over seeds, the band their range. In the published recipe the losses of different "
    "assigners are different functions: compare their course, not their height."
)


def page(sections: Sequence[Section], compared: Compared, left_out: Mapping[str, str]) -> str:
    """The whole page. The same runs give the same bytes."""
    parts = ["<h1>Comparison of label assigners</h1>", _note(MEASURE_NOTE)]
    for section in sections:
        parts += _section(section, compared[section.title])
    if left_out:
        items = "".join(
            f"<li>{escape(path)}: {escape(reason)}</li>" for path, reason in sorted(left_out.items())
        )
        parts.append(f"<h2>Left out</h2><ul>{items}</ul>")
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Comparison of label assigners</title><style>{STYLE.read_text()}</style>"
    )
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{body}\n</main></body></html>\n'
    )


def _section(section: Section, pairs: Sequence[Pair]) -> Iterator[str]:
    yield f"<h2>{escape(section.title)}, {section.images} images</h2>"
    yield from _overview(section)
    yield _main_table(section, pairs)
    yield _note(BEST_NOTE) if pairs else ""
    if section.also:
        yield f'<p class="warning">{escape(also_text(section))}</p>'
    if pairs:
        yield "<h3>Which differences are clear</h3>" + _note(INTERVAL_NOTE) + _pair_table(pairs)
    yield "<h3>By IoU and size</h3>" + _detail_table(section)
    drawn = [f"<figure><h4>{heading}</h4>{svg}</figure>" for heading, svg in charts(section)]
    if drawn:
        yield f"<h3>Over epochs</h3>{_note(LOSS_NOTE)}{_legend(section.groups)}"
        yield f'<div class="charts">{"".join(drawn)}</div>'
    errors = [found for group in section.groups for run in group.runs for found in _errors(group, run)]
    if errors:
        yield f'<h3>What goes wrong</h3><div class="charts">{"".join(errors)}</div>'
    lines = "\n".join(line for group in section.groups for line in commands(group.runs))
    yield f"<h3>Commands</h3><pre>{escape(lines)}</pre>"


def _overview(section: Section) -> Iterator[str]:
    rows = []
    for group in section.groups:
        nms, free = (mean_ap(group, selection) for selection in SELECTIONS)
        if nms is not None and free is not None:
            rows.append((group.label, nms, free))
    if len(rows) == len(section.groups):
        caption = "AP with NMS (ring) and NMS-free (disc); the bar between them is the gap."
        yield f'<figure class="wide">{gap_chart(rows)}<figcaption>{caption}</figcaption></figure>'


def _main_table(section: Section, pairs: Sequence[Pair]) -> str:
    bold = {f"{name}/AP": best(section, pairs, name) if pairs else set() for name in SELECTIONS}
    head = [_cell("assigner", "text"), _cell("recipe", "text"), _cell("seeds", "text")]
    head += [_cell(column.heading, "wrap") for column in MAIN]
    rows = []
    for number, group in enumerate(section.groups):
        row = [
            f'<td class="text">{_key(number)}{escape(group.label)}</td>',
            f'<td class="text recipe">{escape(recipe(group))}</td><td class="text">{seeds(group)}</td>',
        ]
        for column in MAIN:
            text = column.show(group)
            row.append(f"<td>{f'<b>{text}</b>' if group.label in bold.get(column.key, ()) else text}</td>")
        rows.append("".join(row))
    return _table("".join(head), rows)


def _detail_table(section: Section) -> str:
    top = "<th></th>" + "".join(
        f'<th class="left" colspan="{len(METRICS)}">{name}</th>' for name in SELECTIONS.values()
    )
    second = _cell("assigner", "text")
    for _ in SELECTIONS:
        second += "".join(_cell(name, "left" * (place == 0)) for place, name in enumerate(METRICS.values()))
    rows = []
    for number, group in enumerate(section.groups):
        row = f'<td class="text">{_key(number)}{escape(group.label)}</td>'
        for columns in DETAILS.values():
            for place, column in enumerate(columns):
                row += f'<td class="{"left" * (place == 0)}">{column.show(group)}</td>'
        rows.append(row)
    return _table(f"{second}", rows, f'<tr class="head">{top}</tr>')


def _pair_table(pairs: Sequence[Pair]) -> str:
    also = any(pair.also for pair in pairs)
    head = _cell("pair", "text")
    for name in SELECTIONS.values():
        head += f'<th class="text left" colspan="3">difference in AP, {name}</th>'
    head += _cell("differ also in", "text left") if also else ""
    reach = {name: _reach([pair.differences[name] for pair in pairs]) for name in SELECTIONS}
    rows = []
    for pair in pairs:
        row = f'<td class="text">{escape(pair.first.label)} - {escape(pair.second.label)}</td>'
        row += "".join(_difference(pair.differences[name], reach[name]) for name in SELECTIONS)
        row += f'<td class="text recipe left">{escape(", ".join(pair.also))}</td>' if also else ""
        rows.append(row)
    return _table(head, rows)


def _reach(found: Sequence[Difference]) -> float:
    """The end of the scale on which intervals are drawn."""
    return max([1e-9, *(abs(end) for one in found for end in (one.low, one.high) if end == end)])


def _difference(found: Difference, reach: float) -> str:
    if found.mean != found.mean:  # NaN: there is no truth at all
        return '<td class="text left" colspan="3">-</td>'
    word = (
        '<strong class="clear">clear</strong>'
        if found.clear
        else '<span class="unclear-word">not clear</span>'
    )
    return (
        f'<td class="left"><b>{found.mean:+.1f}</b> '
        f'<span class="range">({found.low:+.1f} to {found.high:+.1f})</span></td>'
        f'<td class="bar">{interval_bar(found.mean, found.low, found.high, reach, found.clear)}</td>'
        f'<td class="text">{word}</td>'
    )


def _errors(group: Group, run: FinishedRun) -> Iterator[str]:
    """What tools.errors has left in the run directory."""
    picture, numbers = run.path / "pictures" / "errors.png", run.path / "errors.json"
    title = f"<h4>{escape(group.label)}, seed {run.seed}</h4>"
    body = ""
    if picture.is_file():
        data = base64.b64encode(picture.read_bytes()).decode()
        body += f'<img alt="errors of {escape(run.path.name)}" src="data:image/png;base64,{data}">'
    if numbers.is_file():
        text = escape(json.dumps(_rounded(json.loads(numbers.read_text())), indent=1))
        body += f"<details><summary>numbers</summary><pre>{text}</pre></details>"
    if body:
        yield f"<figure>{title}{body}</figure>"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: _rounded(member) for key, member in value.items()}
    return [_rounded(member) for member in value] if isinstance(value, list) else value


def _legend(groups: Iterable[Group]) -> str:
    items = "".join(f"<span>{_key(n)}{escape(group.label)}</span>" for n, group in enumerate(groups))
    return f'<div class="legend">{items}</div>'


def _key(number: int) -> str:
    return f'<span class="key c{number % COLORS}"></span>'


def _table(head: str, rows: Iterable[str], above: str = "") -> str:
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead>{above}<tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cell(text: str, kind: str = "") -> str:
    return f'<th class="{kind}">{escape(text)}</th>'


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'
