"""The three files of CONTRIBUTING.md, written into a copy of the project: they work as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.tiny_run import ROOT, TINY_RUN

FILES = ("assigners/mine.py", "configs/assigner/mine.yaml", "tests/assigners/test_mine.py")
COPIED = ("assigners", "configs", "data", "detector", "engine", "evaluation", "inference", "tests")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the three files of the document."""
    copy = tmp_path_factory.mktemp("contributing")
    for name in COPIED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("train.py", "errors.py", "command_line.py", "pyproject.toml"):
        shutil.copy(ROOT / name, copy / name)
    blocks = re.findall(r"```(?:python|yaml)\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert len(blocks) == len(FILES)
    for name, block in zip(FILES, blocks, strict=True):
        (copy / name).write_text(block)
    return copy


def _run(copy: Path, *line: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(copy)}
    command = [sys.executable, *line]
    return subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_assigner_trains(copy: Path) -> None:
    done = _run(copy, "train.py", "assigner=mine", "debug=steps", *TINY_RUN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (copy / "runs" / "debug-shapes-fcos_lcnet-mine-seed0" / "eval.json").exists()


def test_its_test_passes(copy: Path) -> None:
    done = _run(copy, "-m", "pytest", "-p", "no:cacheprovider", "tests/assigners/test_mine.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_test_can_fail(copy: Path) -> None:
    file = copy / "assigners/mine.py"
    right = file.read_text()
    try:
        file.write_text(right.replace("self.topk, len(truth)", "self.topk + 1, len(truth)"))
        done = _run(copy, "-m", "pytest", "-p", "no:cacheprovider", "tests/assigners/test_mine.py")
    finally:
        file.write_text(right)
    assert done.returncode == 1, done.stdout + done.stderr
