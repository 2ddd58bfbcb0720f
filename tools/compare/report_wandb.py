"""The report as a wandb run of its own: tables, the page, and a picture of each row's detections."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.log.tracking import has_api_key
from tools.compare.groups import Section
from tools.compare.report_table import ALL, recipe
from tools.compare.report_text import Compared

log = logging.getLogger(__name__)
PICTURES = ("predictions", "errors")


def log_report(out: Path, sections: Sequence[Section], compared: Compared, project: str) -> None:
    """Logs to wandb, offline where there is no API key; the files of the report lie in `out` already.

    A failure of wandb or of the network is printed and ends nothing.
    """
    try:
        _log(out, sections, compared, project)
    except Exception as error:
        log.warning("wandb failed, but the report lies in %s: %s", out, error)


def _log(out: Path, sections: Sequence[Section], compared: Compared, project: str) -> None:
    import wandb

    offline = "WANDB_MODE" not in os.environ and not has_api_key()
    run = wandb.init(
        project=project,
        name=f"compare-{out.name}",
        job_type="compare",
        dir=str(out),
        config={"runs": [str(run.path) for s in sections for group in s.groups for run in group.runs]},
        mode="offline" if offline else None,
        settings=wandb.Settings(silent=True, console="off"),
    )
    content: dict[str, Any] = {"report": wandb.Html((out / "report.html").read_text(), inject=False)}
    for section in sections:
        content[f"{section.title}/results"] = _results(section)
        content[f"{section.title}/differences"] = wandb.Table(
            ["first", "second", "selection", "difference", "low", "high", "clear"],
            [
                [pair.first.label, pair.second.label, selection, one.mean, one.low, one.high, one.clear]
                for pair in compared[section.title]
                for selection, one in pair.differences.items()
            ],
        )
        for group in section.groups:
            for name in PICTURES:
                picture = group.runs[0].path / "pictures" / f"{name}.png"
                if picture.is_file():
                    content[f"{section.title}/{name}/{group.label}"] = wandb.Image(str(picture))
    run.log(content)
    run.finish()
    if offline:
        log.warning("wandb was offline (no API key). To upload: wandb sync %s/wandb/offline-run-*", out)


def _results(section: Section) -> Any:
    import wandb

    head = ["assigner", "recipe", "seeds", *(column.key for column in ALL)]
    rows = []
    for group in section.groups:
        spreads = [column.spread(group) for column in ALL]
        numbers = [None if spread is None else spread.mean for spread in spreads]
        rows.append([group.label, recipe(group), len(group.seeds), *numbers])
    return wandb.Table(head, rows)
