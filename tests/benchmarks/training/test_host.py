"""The script that times the settings of memory runs, small, and writes its ratio."""

import json
from pathlib import Path

from benchmarks.training import host
from tests.helpers.tiny_run import TINY_RUN


def test_host(tmp_path: Path) -> None:
    words = [
        "assigner=atss",
        *(word for word in TINY_RUN if not word.startswith(("logger", "schedule.epochs"))),
    ]
    host.main([f"words=[{','.join(words)}]", "steps=2", "repeats=1", f"out={tmp_path}"])
    report = json.loads((tmp_path / "host.json").read_text())
    (slow,), (fast,) = report["seconds"].values()
    assert 0 < fast < 60
    assert list(report["ratios"].values()) == [slow / fast]
