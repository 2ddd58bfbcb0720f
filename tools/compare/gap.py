"""What having no NMS costs, over data sets: python -m tools.compare.gap runs/* peers/*.json out=report

Prints the means over data sets, and per data set each row's AP with and without NMS, the gap between them
with its interval over images and seeds, duplicates and usable recall; writes gap.md, gap.csv and gap.png.
Rows are those of tools.compare: finished runs that differ in their seed alone, and foreign results.
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
from tools.compare.gap_numbers import means, of_sections
from tools.compare.gap_picture import gap_figure
from tools.compare.gap_text import csv_text, markdown
from tools.compare.groups import sections
from tools.visualize.pictures import save


@dataclass
class Options:
    """What the command line can set."""

    runs: list[str] = option(words=True, help="run directories, folders of them, .json of foreign results")
    out: str = option("report", help="folder of gap.md, gap.csv and gap.png")
    resamples: int = option(1000, least=10, help="draws of images and seeds for the intervals")
    seed: int = option(0, least=0, help="seed of the draws")


def main(words: Sequence[str] | None = None) -> None:
    """Reports the gap of what the command line names."""
    run(Options, lambda options: report(options, Console()), __doc__, words)


def report(options: Options, console: Console) -> list[Path]:
    """Prints the tables and writes the files.

    Returns:
        The files: gap.md, gap.csv, gap.png.

    Raises:
        UsageError: if there is nothing to compare, a run is damaged, or runs do not fit each other.
    """
    runs, left_out = find(options.runs)
    rows = of_sections(sections(runs), options.resamples, options.seed)
    if not rows:
        raise UsageError("no row has both an AP with NMS and one without")
    over_sets = means(rows)
    out = new_folder(options.out)
    text = markdown(rows, over_sets, left_out)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    write_text(out / "gap.md", text)
    write_text(out / "gap.csv", csv_text(rows))
    save(gap_figure(rows, over_sets), out / "gap.png")
    files = [out / name for name in ("gap.md", "gap.csv", "gap.png")]
    for file in files:
        console.print(file, soft_wrap=True, highlight=False)
    return files


if __name__ == "__main__":
    main()
