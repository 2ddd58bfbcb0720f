"""The report as text: tables on the terminal, Markdown, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from evaluation.bootstrap import Difference
from evaluation.results import SELECTIONS
from tools.compare.commands import commands
from tools.compare.groups import Section
from tools.compare.intervals import Pair
from tools.compare.report_table import ALL, DETAILS, MAIN, recipe, seeds

TITLE = "Comparison of label assigners"
Compared = Mapping[str, Sequence[Pair]]  # by the title of a section
INTERVAL_NOTE = (
    "AP of the first minus AP of the second, with its 95% interval over resampled validation images. "
    '"Clear" means that the interval leaves zero out. It covers the choice of the images, not that of the '
    "seeds: how far seeds differ is the deviation behind ± in the table of results."
)
MEASURE_NOTE = (
    "AP is COCO's, 0-100; mean ± standard deviation over seeds. Gap is AP with NMS minus AP without. A "
    "duplicate is a detection of score 0.3 or more of an object that a higher-scoring one has found. Usable "
    "recall is recall (%) at the lowest score with at most 0.05 duplicates per object. Times are of the "
    "machines that the runs were made on: training without evaluations, inference with reading the images."
)


def difference_text(found: Difference) -> str:
    """As in "+2.2 (+0.7 to +3.6), clear"; a dash where there is nothing to compare."""
    if found.mean != found.mean:
        return "-"
    word = "clear" if found.clear else "not clear"
    return f"{found.mean:+.1f} ({found.low:+.1f} to {found.high:+.1f}), {word}"


def also_text(section: Section) -> str:
    """What rows differ in besides the assigner, in a sentence; empty if in nothing."""
    if not section.also:
        return ""
    parts = [f"{key} ({', '.join(map(str, _distinct(values)))})" for key, values in section.also.items()]
    return f"Not the assigner alone: the rows also differ in {'; '.join(parts)}."


def _distinct(values: Iterable[object]) -> list[str]:
    return list(dict.fromkeys(map(str, values)))


def print_report(
    console: Console, sections: Sequence[Section], compared: Compared, left_out: Mapping[str, str]
) -> None:
    """The two tables of each data set."""
    for section in sections:
        recipes = _distinct(recipe(group) for group in section.groups)
        common = recipes[0] if len(recipes) == 1 else None
        table = Table(title=f"{section.title}, {section.images} images", caption=common)
        for heading in ("assigner", *(["recipe"] if common is None else []), "seeds"):
            table.add_column(heading)
        for column in MAIN:
            table.add_column(column.heading, justify="right")
        for group in section.groups:
            own = [recipe(group)] if common is None else []
            table.add_row(group.label, *own, str(len(group.seeds)), *(c.show(group) for c in MAIN))
        console.print(table)
        if section.also:
            console.print(also_text(section), style="yellow", highlight=False)
        if compared[section.title]:
            pairs = Table("pair", *(f"difference in AP, {name}" for name in SELECTIONS.values()))
            for pair in compared[section.title]:
                texts = [difference_text(pair.differences[name]) for name in SELECTIONS]
                pairs.add_row(f"{pair.first.label} - {pair.second.label}", *texts)
            console.print(pairs)
    for path, reason in left_out.items():
        console.print(f"left out: {path}: {reason}", style="yellow", soft_wrap=True, highlight=False)


def markdown(sections: Sequence[Section], compared: Compared, left_out: Mapping[str, str]) -> str:
    """The whole report but the curves."""
    parts = [f"# {TITLE}", MEASURE_NOTE]
    for section in sections:
        parts.append(f"## {section.title}, {section.images} images")
        rows = [[g.label, recipe(g), seeds(g), *(c.show(g) for c in MAIN)] for g in section.groups]
        parts.append(markdown_table(["assigner", "recipe", "seeds", *(c.heading for c in MAIN)], rows))
        parts += [also_text(section)] if section.also else []
        for names in DETAILS.values():
            for selection, title in SELECTIONS.items():
                rows = [[g.label, *(c.show(g) for c in names.of(selection))] for g in section.groups]
                parts.append(markdown_table([f"assigner, {title}", *names.values()], rows))
        if compared[section.title]:
            parts += ["### Which differences are clear", INTERVAL_NOTE, _pairs(compared[section.title])]
        lines = [line for group in section.groups for line in commands(group.runs)]
        parts += ["### Commands", "```\n" + "\n".join(lines) + "\n```"]
    if left_out:
        parts += ["## Left out", "\n".join(f"- {path}: {reason}" for path, reason in left_out.items())]
    return "\n\n".join(parts) + "\n"


def _pairs(pairs: Sequence[Pair]) -> str:
    headings = ["pair", *SELECTIONS.values(), "differ also in"]
    rows = [
        [
            f"{pair.first.label} - {pair.second.label}",
            *(difference_text(pair.differences[name]) for name in SELECTIONS),
            ", ".join(pair.also),
        ]
        for pair in pairs
    ]
    return markdown_table(headings, rows)


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar within a cell is escaped."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def groups_csv(sections: Sequence[Section]) -> str:
    """One line per row of the tables, every number with its deviation."""
    head = ["data", "assigner", "recipe", "seeds"]
    head += [name for column in ALL for name in (column.key, f"{column.key} deviation")]
    rows = []
    for section in sections:
        for group in section.groups:
            row: list[object] = [section.title, group.label, recipe(group), len(group.seeds)]
            for column in ALL:
                found = column.spread(group)
                row += ["", ""] if found is None else [found.mean, found.deviation]
            rows.append(row)
    return csv_lines(head, rows)


def runs_csv(sections: Sequence[Section]) -> str:
    """One line per run."""
    rows = [
        [section.title, group.label, recipe(group), run.seed, run.path, *(column.of(run) for column in ALL)]
        for section in sections
        for group in section.groups
        for run in group.runs
    ]
    return csv_lines(["data", "assigner", "recipe", "seed", "run", *(column.key for column in ALL)], rows)


def differences_csv(compared: Compared) -> str:
    """One line per pair and selection."""
    rows = [
        [
            title,
            pair.first.label,
            pair.second.label,
            selection,
            found.mean,
            found.low,
            found.high,
            found.clear,
        ]
        for title, pairs in compared.items()
        for pair in pairs
        for selection, found in pair.differences.items()
    ]
    return csv_lines(["data", "first", "second", "selection", "difference", "low", "high", "clear"], rows)


def csv_lines(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A CSV file; floats with six digits, nothing for None."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows)
    return stream.getvalue()
