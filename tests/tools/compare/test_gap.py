"""The gap report on generated runs of two data sets: against eval.json, by hand, and from files to files."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from command_line import parse
from data.shapes.dataset import ShapesDataset
from errors import UsageError
from evaluation.bootstrap import Difference
from evaluation.results import PREDICTIONS
from tests.helpers.finished_runs import IMAGES, SIZE, write_run
from tools.compare.find import find
from tools.compare.gap import Options, main, report
from tools.compare.gap_numbers import GapRow, best_row, means, of_sections, words
from tools.compare.groups import Group, sections
from tools.compare.runs import FinishedRun

SETS = {"sparse": "data.crowd=0.0", "dense": "data.crowd=1.0"}


@pytest.fixture(scope="module")
def runs(composed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two assigners, two seeds, two data sets; O2F's boxes are better, ATSS has two duplicates of each."""
    root = tmp_path_factory.mktemp("runs")
    for name, crowd in SETS.items():
        for seed in (0, 1):
            words = (f"data.name={name}", crowd, f"seed={seed}")
            o2f = ("assigner=o2f", "eval.peak_window=3", "eval.every=2")
            write_run(composed, root, *o2f, *words, noise=0.02 + 0.02 * seed)
            write_run(composed, root, "assigner=atss", *words, noise=0.15, copies=3)
    return root


def stored(runs: Path, data: str, assigner: str) -> list[dict]:
    files = [runs / f"{data}-fcos_lcnet-{assigner}-seed{seed}" / "eval.json" for seed in (0, 1)]
    return [json.loads(file.read_text()) for file in files]


def test_numbers_are_the_means_of_the_seeds(runs: Path) -> None:
    rows = of_sections(sections(find([str(runs)])[0]), resamples=40, seed=0)
    assert {(row.data, row.label) for row in rows} == {(d, a) for d in SETS for a in ("O2F", "ATSS")}
    for row in rows:
        results = stored(runs, row.data, row.label.lower())

        def mean(selection: str, name: str, results=results) -> float:
            return float(np.mean([result[selection][name] for result in results]))

        assert (row.seeds, row.metric) == (2, "AP")
        assert row.nms == pytest.approx(mean("nms", "AP"), abs=1e-3)
        assert row.nms_free == pytest.approx(mean("nms_free", "AP"), abs=1e-3)
        assert row.gap.mean == pytest.approx(row.nms - row.nms_free)
        assert row.duplicates == mean("nms_free", "duplicate_rate")
        assert row.recall_nms == mean("nms", "usable_recall")
        assert row.recall == mean("nms_free", "usable_recall")
        assert row.gap.low <= row.gap.mean <= row.gap.high
    atss = next(row for row in rows if row.label == "ATSS")
    o2f = next(row for row in rows if row.label == "O2F")
    assert o2f.gap.high == o2f.gap.low == 0  # one detection of each object: nothing to suppress
    assert atss.gap.low < atss.gap.high
    over_sets = means(rows)
    assert [row.label for row in over_sets] == ["O2F", "ATSS"]
    own = [row for row in rows if row.label == "ATSS"]
    assert over_sets[1].nms_free == pytest.approx(sum(row.nms_free for row in own) / 2)
    half = 12.706 * abs(own[0].gap.mean - own[1].gap.mean) / 2
    assert over_sets[1].gap.low == pytest.approx(over_sets[1].gap.mean - half)
    best = [max(row.nms for row in rows if row.data == one.data) for one in own]
    behind = [one.nms_free - there for one, there in zip(own, best, strict=True)]
    assert over_sets[1].behind.mean == pytest.approx(sum(behind) / 2)
    shares = [row.recall / row.recall_nms for row in own if row.recall is not None and row.recall_nms]
    assert over_sets[1].recall_share == pytest.approx(sum(shares) / 2)
    winner = best_row(over_sets)
    assert winner is not None
    assert words(winner)[0] == "assigner=o2f"
    assert "eval.peak_window=3" in words(winner)
    assert not any(
        word.startswith(("data", "seed", "schedule", "eval.every", "-m")) for word in words(winner)
    )


def test_files_and_foreign_rows(runs: Path, tmp_path: Path) -> None:
    source = runs / "dense-fcos_lcnet-atss-seed0"
    content = {"name": "Other", "data": "dense", "truth": "truth.json"}
    content |= {name: str(source / file) for name, file in PREDICTIONS.items()}
    (tmp_path / "other.json").write_text(json.dumps(content))
    truth = ShapesDataset(IMAGES, SIZE, 0, 1.0).coco_json()
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    words = [str(runs), str(tmp_path / "other.json"), f"out={tmp_path}/report", "resamples=20"]
    files = report(parse(Options, words), Console(file=io.StringIO()))
    assert [file.name for file in files] == ["gap.md", "gap.csv", "gap.png"]
    table = list(csv.DictReader(io.StringIO(files[1].read_text())))
    assert [(row["data"], row["row"]) for row in table if row["row"] == "Other"] == [("dense", "Other")]
    text = files[0].read_text()
    assert "No means of rows that lack a data set: Other." in text
    heads = [line for line in text.splitlines() if line.endswith("| dense | sparse |")]
    assert [head.split(" | ")[0] for head in heads] == [
        "| AP, NMS / NMS-free",
        "| gap (95%)",
        "| duplicates; usable recall, NMS / NMS-free",
    ]
    lines = {line.split(" | ")[0]: line for line in text[text.index(heads[0]) :].splitlines()[2:5]}
    assert list(lines) == ["| O2F", "| ATSS", "| Other"]
    (own,) = [row for row in table if (row["data"], row["row"]) == ("dense", "ATSS")]
    assert lines["| ATSS"].split(" | ")[1] == f"{float(own['nms']):.1f} / {float(own['nms_free']):.1f} (2)"
    assert lines["| Other"].endswith(" | - |")  # no sparse, and one seed
    (line,) = [line for line in text.splitlines() if line.startswith("Best row: ")]
    assert line.startswith("Best row: assigner=o2f")
    assert files[2].stat().st_size > 5_000


def runs_of(label: str, truth_json: dict | None = None) -> Group:
    return Group((FinishedRun(Path(label), {}, {}, (), {}, truth_json),), {}, label)


def test_means_by_hand() -> None:
    def row(data: str, label: str, nms: float, free: float, **other) -> GapRow:
        gap = Difference(nms - free, 0.0, 1.0)
        numbers = {"duplicates": 0.1, "recall_nms": 80.0, "recall": 60.0, "other_nms": None}
        return GapRow(data, label, 1, "AP", nms, free, gap, group=runs_of(label), **(numbers | other))

    rows = [
        row("a", "one", 50.0, 48.0, other_nms=53.0),
        row("b", "one", 30.0, 29.0, recall=80.0, duplicates=None),
        row("a", "two", 52.0, 40.0),
        row("b", "two", 34.0, 20.0),
    ]
    one, two = means(rows)
    assert (one.label, one.nms, one.nms_free, one.gap.mean) == ("one", 40.0, 38.5, 1.5)
    assert one.behind.mean == ((48 - 53) + (29 - 34)) / 2
    assert one.recall_share == (60 / 80 + 1) / 2
    assert (one.duplicates, two.duplicates) == (None, pytest.approx(0.1))
    assert means([*rows, row("c", "two", 1.0, 1.0)])[0].label == "two"  # "one" lacks a set
    assert best_row([one, two]) == one
    assert best_row([replace(two, groups=(runs_of("two", {}),))]) is None  # foreign results


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to compare"):
        report(parse(Options, []), Console(file=io.StringIO()))
    with pytest.raises(SystemExit, match="does not exist"):
        main([str(tmp_path / "none")])
