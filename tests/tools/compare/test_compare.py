"""From run directories to the report: what it holds, and that it needs nothing else."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from pathlib import Path

import pytest
from PIL import Image

from command_line import parse
from errors import UsageError
from tests.helpers.finished_runs import IMAGES, write_run
from tests.tools.compare.reports import made
from tools.compare import intervals
from tools.compare.__main__ import Options, main
from tools.compare.find import find
from tools.compare.groups import sections


def test_the_whole_report(runs: Path, tmp_path: Path) -> None:
    texts = made(runs, tmp_path / "report")
    stored = {
        (name, seed): json.loads((runs / f"shapes-fcos_lcnet-{name}-seed{seed}" / "eval.json").read_text())
        for name in ("o2f", "atss")
        for seed in (0, 1)
    }
    rows = {row["assigner"]: row for row in csv.DictReader(io.StringIO(texts["groups.csv"]))}
    assert list(rows) == ["O2F", "ATSS"]  # the better one NMS-free first
    for name, label in (("o2f", "O2F"), ("atss", "ATSS")):
        first, second = (stored[name, seed]["nms_free"]["AP"] for seed in (0, 1))
        assert float(rows[label]["nms_free/AP"]) == pytest.approx((first + second) / 2, rel=1e-4)
        spread = abs(first - second) / 2**0.5
        assert float(rows[label]["nms_free/AP deviation"]) == pytest.approx(spread, rel=1e-4)
        shown = f"{(first + second) / 2:.1f} ± {spread:.1f}"
        for text in ("report.md", "report.html", "printed"):
            assert shown in texts[text]
        rates = [stored[name, seed]["nms_free"]["duplicate_rate"] for seed in (0, 1)]
        apart = abs(rates[0] - rates[1]) / 2**0.5
        assert f"| {sum(rates) / 2:.2f} ± {apart:.2f} |" in texts["report.md"]
        assert float(rows[label]["training_minutes"]) == pytest.approx(1.0)
        assert float(rows[label]["inference_ms"]) == pytest.approx(600 / IMAGES)
    assert float(rows["ATSS"]["nms_free/duplicate_rate"]) > 1 > float(rows["O2F"]["nms_free/duplicate_rate"])
    by_run = list(csv.DictReader(io.StringIO(texts["runs.csv"])))
    assert [(row["assigner"], row["seed"]) for row in by_run] == [
        ("O2F", "0"), ("O2F", "1"), ("ATSS", "0"), ("ATSS", "1"),
    ]  # fmt: skip
    differences = list(csv.DictReader(io.StringIO(texts["differences.csv"])))
    assert [row["selection"] for row in differences] == ["nms", "nms_free"]
    for row in differences:
        means = [sum(stored[n, s][row["selection"]]["AP"] for s in (0, 1)) / 2 for n in ("o2f", "atss")]
        assert float(row["difference"]) == pytest.approx(means[0] - means[1], abs=1e-3)
        assert row["clear"] == "True"
        assert 0 < float(row["low"]) < float(row["high"])
    command = "python train.py -m assigner=o2f"
    for text in ("report.md", "report.html"):
        assert command in texts[text]
        assert re.search(r"seed=0,1\b", texts[text])
        assert "shapes-fcos_lcnet-tal-seed0: unfinished" in texts[text]
    assert "left out" in texts["printed"]


def test_what_else_differs_is_said(composed, runs: Path, tmp_path: Path) -> None:
    write_run(composed, runs, "assigner=simota", "schedule.lr=1e-3", noise=0.15)
    texts = made(runs, tmp_path / "report")
    for name in ("report.md", "report.html", "printed"):
        assert re.search(r"also\s+differ\s+in\s+schedule\.lr", texts[name])
    also = re.findall(r"^\| \w+ - \w+ \|.*\| ([^|]*) \|$", texts["report.md"], flags=re.MULTILINE)
    assert sorted(also) == ["", "schedule.lr", "schedule.lr"]


def test_without_intervals_no_truths_are_needed(runs: Path, tmp_path: Path) -> None:
    gone = "kind: coco\n  root: gone\n  val: {images: val2017, annotations: val.json}"
    for config in runs.glob("*/config.yaml"):
        config.write_text(config.read_text().replace("kind: shapes", gone))
    with pytest.raises(UsageError, match="resamples=0 leaves the intervals out"):
        made(runs, tmp_path / "report")
    texts = made(runs, tmp_path / "report", "resamples=0")
    assert texts["differences.csv"].count("\n") == 1
    assert "Which differences" not in texts["report.html"]


def test_predictions_that_do_not_fit_are_refused(runs: Path, tmp_path: Path) -> None:
    file = runs / "shapes-fcos_lcnet-o2f-seed1" / "predictions_nms.json"
    stored = json.loads(file.read_text())
    file.write_text(json.dumps(stored[:-9]))
    with pytest.raises(UsageError, match=r"predictions_nms\.json and the ground truth do not give the AP of"):
        made(runs, tmp_path / "report")
    file.write_text(json.dumps([{**stored[0], "image_id": 999}]))
    with pytest.raises(UsageError, match=r"predictions_nms\.json has detections of image 999"):
        made(runs, tmp_path / "report")


def test_processes_give_the_same_intervals(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (section,) = sections(find([str(runs)])[0])
    alone = intervals.compare(section, 20)
    monkeypatch.setattr(intervals, "PARALLEL_FROM", 1)
    monkeypatch.setattr(intervals, "cores", lambda: 2)
    together = intervals.compare(section, 20)
    assert [pair.differences for pair in together] == [pair.differences for pair in alone]


def test_wandb_gets_tables_and_pictures(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (runs / "shapes-fcos_lcnet-o2f-seed0" / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(runs / "shapes-fcos_lcnet-o2f-seed0" / "pictures" / "predictions.png")
    with caplog.at_level(logging.WARNING):
        made(runs, tmp_path / "report", "wandb=true")
    assert "wandb sync" in caplog.text
    assert "wandb failed" not in caplog.text
    (run,) = (tmp_path / "report" / "wandb").glob("offline-run-*")
    assert list(run.glob("*.wandb"))
    kept = [file.name for file in (run / "files" / "media").rglob("*") if file.is_file()]
    assert sum(name.endswith(".table.json") for name in kept) == 2
    assert sum(name.endswith(".html") for name in kept) == 1
    assert sum(name.endswith(".png") for name in kept) == 1


def test_a_wandb_that_fails_ends_nothing(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**arguments: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("wandb.init", fail)
    with caplog.at_level(logging.WARNING):
        assert "report.html" in made(runs, tmp_path / "report", "wandb=true")
    assert "no network" in caplog.text


def test_differences_from_one_row(composed, runs: Path, tmp_path: Path) -> None:
    write_run(composed, tmp_path / "runs", "assigner=poto", noise=0.05)
    every = list(csv.DictReader(io.StringIO(made(runs, tmp_path / "all")["differences.csv"])))
    assert len({(row["first"], row["second"]) for row in every}) == 3
    for against in ("atss", "ATSS"):
        texts = made(runs, tmp_path / against, f"against={against}")
        chosen = list(csv.DictReader(io.StringIO(texts["differences.csv"])))
        assert {(row["first"], row["second"]) for row in chosen} == {("O2F", "ATSS"), ("POTO", "ATSS")}
        assert [row for row in every if row["second"] == "ATSS"] == chosen  # the better rows stand first
    with pytest.raises(UsageError, match=r"against=tal.*there are o2f, O2F, poto, POTO, atss, ATSS"):
        made(runs, tmp_path / "none", "against=tal")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resample=3"], "resample=3: .*the keys are out, resamples"),
        (["resamples=many"], "resamples=many"),
        (["resamples=-1"], "at least 0"),
    ],
)
def test_wrong_arguments(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(Options, words)


def test_words(tmp_path: Path) -> None:
    (tmp_path / "lr=1").mkdir()
    found = parse(Options, ["runs/a", f"{tmp_path}/lr=1", "out=there", "wandb=true"])
    assert found == Options(runs=["runs/a", f"{tmp_path}/lr=1"], out="there", wandb=True)
    with pytest.raises(SystemExit, match="does not exist"):
        main([str(tmp_path / "none")])
