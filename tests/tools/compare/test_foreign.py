"""Results of any other detector are rows beside runs, and runs of an older version still are."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from command_line import parse
from data.shapes.dataset import ShapesDataset
from errors import UsageError
from tests.helpers.finished_runs import IMAGES, SIZE, write_run
from tools.compare.__main__ import Options, report
from tools.compare.find import find
from tools.compare.foreign import read_foreign
from tools.errors.__main__ import analyse_run


@pytest.fixture
def run(composed, tmp_path: Path) -> Path:
    return write_run(composed, tmp_path / "runs", "assigner=o2f", noise=0.05, copies=2)


def foreign(folder: Path, run: Path, **other: Any) -> Path:
    """The detections of a run as those of another program."""
    folder.mkdir(exist_ok=True)
    (folder / "truth.json").write_text(json.dumps(ShapesDataset(IMAGES, SIZE, 0, 0.0).coco_json()))
    (folder / "raw.json").write_bytes((run / "predictions.json").read_bytes())
    (folder / "nms.json").write_bytes((run / "predictions_nms.json").read_bytes())
    content = {
        "name": "Other",
        "data": "shapes",
        "truth": "truth.json",
        "nms": "nms.json",
        "nms_free": "raw.json",
    }
    content = {key: value for key, value in (content | other).items() if value is not None}
    (folder / "other.json").write_text(json.dumps(content))
    return folder / "other.json"


def compared(out: Path, *words: str) -> tuple[list[dict[str, str]], dict[str, str]]:
    console = Console(file=io.StringIO(), width=200)
    files = report(parse(Options, [*words, f"out={out}", "resamples=20"]), console)
    texts = {file.name: file.read_text() for file in files}
    return list(csv.DictReader(io.StringIO(texts["groups.csv"]))), texts


def test_the_same_detections_have_the_same_numbers(run: Path, tmp_path: Path) -> None:
    file = foreign(tmp_path / "other", run)
    rows, texts = compared(tmp_path / "report", str(run), str(file))
    assert {row["assigner"] for row in rows} == {"O2F", "Other"}
    numbers = [{key: row[key] for key in row if "nms" in key or key == "gap"} for row in rows]
    assert numbers[0] == numbers[1]
    assert float(numbers[0]["nms_free/usable_recall"]) < float(numbers[0]["nms/usable_recall"])
    (one, other) = csv.DictReader(io.StringIO(texts["differences.csv"]))
    assert float(one["difference"]) == float(other["difference"]) == 0
    for text in ("report.md", "report.html"):
        assert f"# Other: foreign results of {file}" in texts[text]
        assert "also differ in" not in texts[text]


def test_one_selection_alone(run: Path, tmp_path: Path) -> None:
    file = foreign(tmp_path / "other", run, nms_free=None)
    rows, texts = compared(tmp_path / "report", str(run), str(file))
    (row,) = [row for row in rows if row["assigner"] == "Other"]
    assert row["nms/AP"] == next(r for r in rows if r["assigner"] == "O2F")["nms/AP"]
    assert row["nms_free/AP"] == row["gap"] == row["nms_free/usable_recall"] == ""
    assert "nan" not in texts["report.md"] + texts["report.html"]
    result = analyse_run(file, Console(file=io.StringIO()))
    assert list(result) == ["nms"]
    assert (tmp_path / "other" / "other.errors" / "pictures" / "errors.png").stat().st_size > 10_000


def test_seeds_are_one_row_and_other_data_another_table(run: Path, tmp_path: Path) -> None:
    files = [foreign(tmp_path / f"s{seed}", run, seed=seed) for seed in (0, 1)]
    files.append(foreign(tmp_path / "x", run, data="mine"))
    rows, _ = compared(tmp_path / "report", str(run), *map(str, files))
    found = sorted((row["data"], row["assigner"], row["seeds"]) for row in rows)
    assert found == [("mine", "Other", "1"), ("shapes", "O2F", "1"), ("shapes", "Other", "2")]


def test_a_name_of_two_data_sets_is_refused(composed, run: Path, tmp_path: Path) -> None:
    other = write_run(composed, tmp_path / "runs", "assigner=o2f", "data.crowd=1.0", "name=crowd")
    with pytest.raises(UsageError, match=r"other\.json: several data sets here are named shapes"):
        compared(tmp_path / "report", str(run), str(other), str(foreign(tmp_path / "other", run)))


def test_other_truths_under_the_same_name_are_refused(run: Path, tmp_path: Path) -> None:
    file = foreign(tmp_path / "other", run)
    content = json.loads((tmp_path / "other" / "truth.json").read_text())
    content["annotations"] = content["annotations"][3:]
    (tmp_path / "other" / "truth.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"do not give the AP.*is that of .*other\.json another one"):
        compared(tmp_path / "report", str(run), str(file))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"nms": None, "nms_free": None}, "names no detections"),
        ({"truth": "none.json"}, "none.json does not exist"),
        ({"nms": "none.json"}, "none.json cannot be read"),
        ({"truth": None}, "`truth`.*see docs/compare.md"),
        ({"mns": "nms.json"}, "`mns`.*see docs/compare.md"),
    ],
)
def test_wrong_files(run: Path, tmp_path: Path, other: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_foreign(foreign(tmp_path / "other", run, **other))


def test_results_of_an_older_version_are_read(run: Path, tmp_path: Path) -> None:
    """Their eval.json lacks numbers that are measured today."""
    result = json.loads((run / "eval.json").read_text())
    kept = {"AP", "AP50", "AP75", "AR100", "per_class", "duplicate_rate"}
    for selection in ("nms", "nms_free"):
        result[selection] = {key: value for key, value in result[selection].items() if key in kept}
    (run / "eval.json").write_text(json.dumps(result))
    rows, _ = compared(tmp_path / "report", str(run))
    assert rows[0]["nms/usable_recall"] == rows[0]["nms/AP_small"] == ""
    assert float(rows[0]["nms/AP"]) == pytest.approx(result["nms"]["AP"], rel=1e-4)
    assert find([str(run)])[1] == {}
