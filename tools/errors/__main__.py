"""Analyses where a finished run loses AP: python -m tools.errors run=runs/NAME

Reads the run's detections with and without NMS and the ground truth of its validation set, prints a table,
and writes errors.json and pictures/errors.png into the run directory; docs/errors.md explains them. TIDE's
kinds of error need hotcoco (extra `fast`); all else works without it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from command_line import new_folder, option, run
from engine.run.directory import read_config, write_text
from engine.setup import build_dataset
from errors import UsageError
from evaluation.error_analysis import analyse
from evaluation.outcomes import MOST_DUPLICATES
from evaluation.results import PREDICTIONS, SELECTIONS, read_results
from evaluation.tide import KINDS, MISSING
from evaluation.truth import Floats, Truth
from tools.compare.foreign import foreign_rows, read_foreign
from tools.errors.picture import errors_figure
from tools.visualize.pictures import save


@dataclass
class Options:
    """What the command line can set."""

    run: str = option(help="directory of a finished run, or the .json file of foreign results")


def main(words: Sequence[str] | None = None) -> None:
    """Analyses the run that the command line names."""
    run(Options, lambda options: analyse_run(Path(options.run), Console()), __doc__, words)


def analyse_run(directory: Path, console: Console) -> dict[str, Any]:
    """Analyses a run, prints the table and writes errors.json and pictures/errors.png.

    Those of foreign results, FILE.json, lie in the folder FILE.errors.

    Raises:
        UsageError: if it is no finished run, or its data or predictions are not there or do not fit.
    """
    if directory.suffix == ".json":
        truth, rows = foreign_rows(read_foreign(directory))
        directory = new_folder(directory.with_suffix(".errors"))
    else:
        truth, rows = load(directory)
    result = analyse(truth, rows)
    write_text(directory / "errors.json", json.dumps(result, indent=1) + "\n")
    (directory / "pictures").mkdir(exist_ok=True)
    save(errors_figure(result, directory.name), directory / "pictures" / "errors.png")
    console.print(error_table(result, directory.name))
    if any(one["tide"] is None for one in result.values()):
        console.print(MISSING, style="yellow")
    console.print(f"written: {directory / 'errors.json'}", soft_wrap=True)
    console.print(f"         {directory / 'pictures' / 'errors.png'}", soft_wrap=True)
    return result


def load(directory: Path) -> tuple[Truth, dict[str, Floats]]:
    """The truths of a run's validation set, and its detections by selection.

    Raises:
        UsageError: as `analyse_run`.
    """
    config = read_config(directory)
    absent = [name for name in PREDICTIONS.values() if not (directory / name).is_file()]
    if absent:
        raise UsageError(
            f"{directory} has no {' and no '.join(absent)}: finish the run, or evaluate it by "
            f"python eval.py run={directory}"
        )
    OmegaConf.resolve(config)
    truth = Truth(build_dataset(config.data, "val", config.seed).coco_json())
    return truth, {name: read_results(directory / file, truth) for name, file in PREDICTIONS.items()}


def error_table(result: Mapping[str, Any], title: str) -> Table:
    """The selections side by side: what each kind of error costs, the usable threshold, the ranking."""
    pair = list(result.values())
    table = Table(title=title)
    table.add_column("")
    for selection in result:
        table.add_column(SELECTIONS[selection], justify="right")
    if all(one["tide"] for one in pair):
        table.add_row("AP50", *(f"{one['tide']['AP50']:.1f}" for one in pair), end_section=True)
        for kind in KINDS:
            cells = [f"+{one['tide']['won'][kind]:.1f}  ({one['tide']['counts'][kind]:,})" for one in pair]
            table.add_row(f"without {kind} errors", *cells, end_section=kind == list(KINDS)[-1])
    rows = (("threshold", "{:.3f}"), ("recall there", "{:.1%}"), ("precision there", "{:.1%}"))
    for heading, style in rows:
        cells = [style.format(one["usable"][heading.split()[0]]) if one["usable"] else "-" for one in pair]
        table.add_row(heading, *cells)
    errors = [one["calibration_error"] for one in pair]
    cells = ["-" if error is None else f"{error:.3f}" for error in errors]
    table.add_row("calibration error", *cells, end_section=True)
    for heading, key in (
        ("mean IoU of an object's first", "iou"),
        ("rank correlation of its score and IoU", "correlation"),
        ("score of the second by the first", "second"),
    ):
        numbers = [(one["ranking"] or {}).get(key) for one in pair]
        table.add_row(heading, *("-" if number is None else f"{number:.3f}" for number in numbers))
    table.caption = (
        "points of AP50 won (number of errors); threshold: the lowest score with at most "
        f"{MOST_DUPLICATES} duplicates per object"
    )
    return table


if __name__ == "__main__":
    main()
