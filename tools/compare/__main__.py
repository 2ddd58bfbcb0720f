"""Compares finished runs: `python -m tools.compare runs/shapes-* out=report`, with key=value for these keys.

out          the folder of report.html, report.md, groups.csv, runs.csv and differences.csv
resamples    of the validation images, for the intervals of the differences; 0 leaves them out
seed         of the resamples
against      a row, by its label or its assigner's name: differences from it alone, not those of all pairs
wandb        true logs the tables and pictures as a run of its own, offline where there is no API key
project      the project of that run; by default that of the runs

Words without "=" are run directories, or folders of them. Runs that differ in their seed alone are one row.
What is not finished is named and left out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from engine.run import write_text
from errors import UsageError
from tools.compare.groups import Section, sections
from tools.compare.intervals import Pair, compare
from tools.compare.report_html import page
from tools.compare.report_text import differences_csv, groups_csv, markdown, print_report, runs_csv
from tools.compare.report_wandb import log_report
from tools.compare.runs import find


@dataclass
class Options:
    """What the command line can set; the module's docstring explains each."""

    runs: list[str] = field(default_factory=list)
    out: str = "report"
    resamples: int = 1000
    seed: int = 0
    against: str | None = None
    wandb: bool = False
    project: str | None = None


KEYS = tuple(one.name for one in fields(Options) if one.name != "runs")


def main(words: Sequence[str] | None = None) -> None:
    """Compares what the command line names."""
    words = sys.argv[1:] if words is None else words
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return
    try:
        report(parse(words), Console())
    except UsageError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def parse(words: Sequence[str]) -> Options:
    """The options that key=value words give, and the directories.

    Raises:
        UsageError: for an unknown key, with those that are known, or a value that its key cannot take.
    """
    known = OmegaConf.structured(Options)
    runs = []
    for word in words:
        key, equals, _ = word.partition("=")
        if not equals or (key not in KEYS and Path(word).exists()):
            runs.append(word)
            continue
        if key not in KEYS:
            raise UsageError(f"{word}: the keys are {', '.join(KEYS)}; other words are run directories")
        try:
            known.merge_with_dotlist([word])
        except OmegaConfBaseException as error:
            raise UsageError(f"{word}: {str(error).splitlines()[0]}") from error
    options = OmegaConf.to_object(known)
    assert isinstance(options, Options)
    if options.resamples < 0 or options.seed < 0:
        raise UsageError(f"resamples={options.resamples}, seed={options.seed}: both are at least 0")
    options.runs = runs
    return options


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
    out = _folder(options.out)
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
        log_report(out, found, compared, options.project or runs[0].config["logger"]["project"])
    return [out / name for name in texts]


def _known_row(name: str | None, found: Sequence[Section]) -> None:
    labels = [word for section in found for group in section.groups for word in (group.assigner, group.label)]
    if name is not None and name not in labels:
        known = ", ".join(dict.fromkeys(labels))
        raise UsageError(f"against={name}: no row has this label or assigner; there are {known}")


def _folder(out: str) -> Path:
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error.strerror}): choose another out=DIR") from error
    return Path(out)


if __name__ == "__main__":
    main()
