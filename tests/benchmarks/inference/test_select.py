"""The script that times the selection runs, small, and writes its table."""

import json
from pathlib import Path

import pytest

from benchmarks.inference import select
from detector.select import best_candidates


@pytest.mark.parametrize("candidates", [1, 40])
def test_drawn_predictions_have_so_many_candidates(candidates: int) -> None:
    grid, predictions = select.draw(2, candidates)
    found = best_candidates(predictions, grid)
    assert all(0.6 * candidates <= len(image) <= candidates for image in found)


def test_selection(tmp_path: Path) -> None:
    select.main(["images=[1,2]", "candidates=[3]", "repeats=1", f"out={tmp_path}"])
    report = json.loads((tmp_path / "select.json").read_text())
    rows = report["rows"]
    assert list(report["ratios"].values()) == [ratio for row in rows for ratio in row["ratios"].values()]
    assert [row["images"] for row in rows] == [1, 2]
    assert (tmp_path / "select.md").read_text().count("\n| ") == 4
