"""What `pip install .` installs: the commands, which find their configs wherever they are called from."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.tiny_run import ROOT

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the wheel, as an installation lays them down."""
    pytest.importorskip("setuptools")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    skip = shutil.ignore_patterns(
        ".*", "__pycache__", "runs", "docs", "tests", "benchmarks", "outputs", "wandb"
    )
    shutil.copytree(ROOT, source, ignore=skip, dirs_exist_ok=True)
    code = "from setuptools import build_meta; build_meta.build_wheel('wheel')"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    (wheel,) = (source / "wheel").iterdir()
    with zipfile.ZipFile(wheel) as file:
        file.extractall(out)
    return out


@pytest.fixture
def matchpoint(installed: Path, tmp_path: Path) -> Command:
    """matchpoint(*words): what the installed script does, in an empty directory, without the repository."""
    script = "import sys; from matchpoint.commands import main; main()"

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-c", script, *words]
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        return subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)

    return call


def test_the_script_and_its_package(installed: Path) -> None:
    (info,) = installed.glob("matchpoint-*.dist-info")
    assert "matchpoint = matchpoint.commands:main" in (info / "entry_points.txt").read_text()
    assert {path.name for path in installed.iterdir()} == {"matchpoint", info.name}
    for folder in ("assigners", "adapters", "configs", "data", "detector", "engine", "evaluation", "tools"):
        ours = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.*") if path.is_file()}
        ours = {path for path in ours if path.suffix not in (".pyc",)}
        assert {path for path in ours if not (installed / "matchpoint" / path).is_file()} == set()


def test_all_commands_are_listed(matchpoint: Command) -> None:
    done = matchpoint()
    assert done.returncode == 0, done.stderr
    for name in ("train", "eval", "compare", "errors", "visualize", "download_coco"):
        assert f"\n  {name} " in done.stdout
    assert "commands" not in done.stdout.split()
    assert matchpoint("trian").returncode == 1


def test_configs_are_found(matchpoint: Command, installed: Path) -> None:
    done = matchpoint("train", "assigner=rfla", "model=picodet_s", "logger=none", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert "_target_: assigners.RFLA" in done.stdout
    assert str(ROOT) not in done.stdout + done.stderr


def test_a_tool_runs(matchpoint: Command) -> None:
    done = matchpoint("compare", "--help")
    assert done.returncode == 0, done.stderr
    assert "key=value" in done.stdout or "runs" in done.stdout
