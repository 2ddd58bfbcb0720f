"""The script that times a start runs, small, and writes its table."""

import json
from pathlib import Path

from benchmarks.data import start


def test_start(tmp_path: Path) -> None:
    start.main(["images=5", "boxes=30", "repeats=1", f"out={tmp_path}"])
    report = json.loads((tmp_path / "start.json").read_text())
    rows = report["rows"]
    assert [name.split(" / ")[1] for name in report["ratios"]] == list(start.WAYS)[1:3]
    assert [row["name"] for row in rows] == list(start.WAYS)
    assert all(row["seconds"] > 0 for row in rows)
