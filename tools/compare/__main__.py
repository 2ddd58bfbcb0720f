"""Compares finished runs: python -m tools.compare runs/shapes-* out=report

Prints the tables and writes report.html, report.md, groups.csv, runs.csv and differences.csv. Runs that
differ in their seed alone are one row. What is not finished is named and left out. A .json file names the
results of any other detector and their ground truth (docs/compare.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from command_line import new_folder, option, run
from engine.run.directory import write_text
from errors import UsageError
from tools.compare.find import find
from tools.compare.groups import Section, sections
from tools.compare.intervals import Pair, compare
from tools.compare.report_html import page
from tools.compare.report_text import differences_csv, groups_csv, markdown, print_report, runs_csv
from tools.compare.report_wandb import log_report
from tools.compare.runs import FinishedRun


@dataclass
class Options:
    """What the command line can set."""

    runs: list[str] = option(
        words=True, help="run directories, folders of them, .json files of foreign results"
    )
    out: str = option("report", help="folder of the report")
    resamples: int = option(
        1000, least=0, help="draws of the validation images for intervals; 0: no intervals"
    )
    seed: int = option(0, least=0, help="seed of the draws")
    against: str | None = option(
        None, help="label or assigner of a row: differences from it alone, not those of all pairs"
    )
    wandb: bool = option(False, help="log tables and pictures as a wandb run, offline without an API key")
    project: str | None = option(None, help="wandb project; by default that of the runs")


def main(words: Sequence[str] | None = None) -> None:
    """Compares what the command line names."""
    run(Options, lambda options: report(options, Console()), __doc__, words)


def report(options: Options, console: Console) -> list[Path]:
    """Prints the tables and writes the files.

    Returns:
        The files, the page first.

    Raises:
        UsageError: if there is nothing to compare, a run is damaged, or runs do not fit each other.
    """
    runs, left_out = find(options.runs)
    found = sections(runs)
    _known_row(options.against, found)
    out = new_folder(options.out)
    compared: dict[str, list[Pair]] = {section.title: [] for section in found}
    if options.resamples:
        for section in found:
            compared[section.title] = compare(section, options.resamples, options.seed, options.against)
    print_report(console, found, compared, left_out)
    texts = {
        "report.html": page(found, compared, left_out),
        "report.md": markdown(found, compared, left_out),
        "groups.csv": groups_csv(found),
        "runs.csv": runs_csv(found),
        "differences.csv": differences_csv(compared),
    }
    for name, text in texts.items():
        write_text(out / name, text)
        console.print(out / name, soft_wrap=True, highlight=False)
    if options.wandb:
        log_report(out, found, compared, options.project or _project(runs))
    return [out / name for name in texts]


def _known_row(name: str | None, found: Sequence[Section]) -> None:
    labels = [word for section in found for group in section.groups for word in (group.assigner, group.label)]
    if name is not None and name not in labels:
        known = ", ".join(dict.fromkeys(labels))
        raise UsageError(f"against={name}: no row has this label or assigner; there are {known}")


def _project(runs: Sequence[FinishedRun]) -> str:
    named = [run.config["logger"]["project"] for run in runs if not run.foreign]
    return str(named[0]) if named else "matchpoint"


if __name__ == "__main__":
    main()
