"""The benchmark of memory, tiny: each network has its row. Its processes are calls here."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.training import memory


def test_a_row_for_each_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        memory,
        "in_fresh_process",
        lambda options, network, precision: memory.second_step(replace(options, network=network)),
    )
    memory.main(["images=1", "size=64", "boxes=2", "precisions=[float32]", f"out={tmp_path}"])
    report = json.loads((tmp_path / "memory.json").read_text())
    assert [row["name"] for row in report["rows"]] == list(memory.NETWORKS)
    assert all(row["megabytes"] > 0 for row in report["rows"])
    assert report["rows"][0]["share"] == 1
    assert list(report["ratios"]) == ["torchvision / matchpoint, float32"]
