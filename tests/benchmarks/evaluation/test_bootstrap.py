"""The benchmark of the paired bootstrap, tiny."""

from pathlib import Path

import pytest

from benchmarks.evaluation import bootstrap


def test_the_bootstrap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bootstrap.main(["images=8", "classes=3", "limit=12", "resamples=20", f"out={tmp_path}"])
    assert "95% interval" in capsys.readouterr().out
