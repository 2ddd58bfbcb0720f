"""Runs to compare."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.finished_runs import write_run


@pytest.fixture
def runs(composed, tmp_path: Path) -> Path:
    """ATSS and O2F with two seeds each, O2F with better boxes and without duplicates, and a run cut short."""
    for seed in (0, 1):
        write_run(composed, tmp_path / "runs", "assigner=o2f", f"seed={seed}", noise=0.02)
        write_run(composed, tmp_path / "runs", "assigner=atss", f"seed={seed}", noise=0.15, copies=3)
    short = write_run(composed, tmp_path / "runs", "assigner=tal")
    (short / "eval.json").unlink()
    return tmp_path / "runs"
