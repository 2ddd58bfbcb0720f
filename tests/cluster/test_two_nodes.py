"""Two torchrun agents on this machine as two nodes: training, a lost node, continuing, evaluation."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.helpers.tiny_run import ROOT, TINY_RUN

pytestmark = pytest.mark.skipif("CLUSTER" not in os.environ, reason="a minute: CLUSTER=1 runs it")
WORDS = (*TINY_RUN, "schedule.epochs=40", "eval.every=40", "name=two")


def agents(folder: Path, script: str, *words: str) -> list[subprocess.Popen[str]]:
    """One agent per node, each with one process; the first one's port is where they meet."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    line = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1",
        f"--rdzv-id={port}", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}",
        "--local-addr=127.0.0.1",
        str(ROOT / script), *words,
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            line, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for _ in range(2)
    ]  # fmt: skip


def finished(nodes: list[subprocess.Popen[str]]) -> list[str]:
    """What the agents said, who all succeed."""
    said = [node.communicate(timeout=300)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(said)
    return said


def lose(node: subprocess.Popen[str]) -> None:
    """Kills an agent and its process, as if the node lost its power."""
    children = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()
    for process in (node.pid, *map(int, children)):
        os.kill(process, signal.SIGKILL)


def test_two_nodes_of_which_one_is_lost(tmp_path: Path) -> None:
    last = tmp_path / "runs" / "two" / "last.pt"
    nodes = agents(tmp_path, "train.py", *WORDS)
    try:
        while not last.exists():
            assert [node.poll() for node in nodes] == [None, None], nodes[0].communicate()[0]
            time.sleep(0.5)
        lose(nodes[1])
        nodes[0].communicate(timeout=120)
        assert nodes[0].returncode != 0  # the other one does not wait for it
    finally:
        for node in nodes:
            node.kill()
    epoch = torch.load(last, weights_only=True)["epoch"]
    assert 1 <= epoch < 40

    said = finished(agents(tmp_path, "train.py", *WORDS))
    assert sum("continuing runs/two at epoch" in text for text in said) == 1
    result = json.loads((last.parent / "eval.json").read_text())
    assert result["epoch"] == 40

    words = ("run=runs/two", "device=cpu", "out=again")
    finished(agents(tmp_path, "eval.py", *words))
    again = json.loads((tmp_path / "again" / "eval.json").read_text())
    assert again["nms_free"] == result["nms_free"]
