"""A sweep through submitit on a real SLURM: one job fails, one is announced its end, requeued, and continues.

Skipped where SLURM or the plugin is not installed. SLURM waits two minutes before it runs a job again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cluster.one_node import missing, one_node
from tests.helpers.tiny_run import ROOT, TINY_RUN

pytestmark = [
    pytest.mark.skipif("CLUSTER" not in os.environ, reason="three minutes: CLUSTER=1 runs it"),
    pytest.mark.skipif(bool(missing()), reason=missing()),
    pytest.mark.skipif(find_spec("submitit") is None, reason="pip install hydra-submitit-launcher"),
]
SWEEP = (
    "-m", "assigner.topk=0,3,5", "assigner.name=o2f-topk${assigner.topk}", *TINY_RUN, "schedule.epochs=60",
    "eval.every=60", "hydra/launcher=slurm", "hydra.launcher.gpus_per_node=null",
    "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=null", "hydra.launcher.timeout_min=30",
)  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with one_node(tmp_path_factory.mktemp("slurm")) as environment:
        yield os.environ | environment


def slurm(environment: dict[str, str], *line: str) -> str:
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=True).stdout


def test_a_sweep_on_slurm(cluster: dict[str, str], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    line = [sys.executable, "train.py", *SWEEP, f"runs_dir={runs}"]
    with subprocess.Popen(
        line, cwd=ROOT, env=cluster, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as sweep:
        last = runs / "shapes-fcos_lcnet-o2f-topk5-seed0" / "last.pt"
        for _ in range(240):
            if last.exists():
                break
            assert sweep.poll() is None, sweep.communicate()[0]
            time.sleep(1)
        ids = slurm(cluster, "squeue", "-h", "-r", "-o", "%i %K").split("\n")
        (job,) = [row.split()[0] for row in ids if row and row.split()[1] == "2"]
        slurm(cluster, "scancel", "--signal=USR2", job)  # as SLURM does before a time limit or a preemption
        said = sweep.communicate(timeout=900)[0]
    assert sweep.returncode == 1, said
    assert "1 of 3 jobs failed:" in said
    assert "topk must be at least 1, got 0" in said
    assert said.count("│ finished") == 2
    logs = [path.read_text() for path in (runs / ".sweeps").rglob(f"{job}*_log.out")]
    assert any("interrupted: saving after this step" in log for log in logs), logs
    assert any(f"continuing {last.parent} at epoch" in log for log in logs), logs
