"""The benchmark of the evaluation, tiny: every backend gives the same AP, and a table is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.evaluation import backends


def test_from_detections_to_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    backends.main(["images=12", "truths=60", "detections=15", "repeats=1", f"out={tmp_path}/out"])
    report = json.loads((tmp_path / "out" / "backends.json").read_text())
    assert (report["images"], report["detections"]) == (12, 180)
    assert report["difference"] < 1e-4  # eval.json rounds to four digits
    assert len(report["ratios"]) == len(report["rows"]) - 1
    assert report["rows"][0]["name"] == backends.PLAIN
    assert any(row["name"].startswith("pycocotools 2") for row in report["rows"])
    assert "| evaluation by |" in (tmp_path / "out" / "backends.md").read_text()
    assert "written" in capsys.readouterr().out


def test_the_plain_way_counts_the_same_duplicates(tmp_path: Path) -> None:
    content, rows_D7 = backends.draw(12, 60, 30)
    rows = {"nms": rows_D7[::3], "nms_free": rows_D7}
    plain = backends.plain(content, rows, tmp_path)
    whole = backends.whole(content, rows, "auto", tmp_path)
    objects = backends.Truth(content).objects
    for selection in rows:
        assert plain[selection]["duplicates"] == round(whole[selection]["duplicate_rate"] * objects)
    assert plain["nms_free"]["duplicates"] > 0
