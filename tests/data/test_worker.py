from __future__ import annotations

import multiprocessing
import subprocess
import sys
from typing import Any

import pytest

from data.worker import signals_held
from tests.helpers.tiny_run import ROOT
from tests.helpers.waiting import wait


@pytest.mark.skipif(sys.platform != "linux", reason="workers elsewhere end with any signal")
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_worker_ends_with_its_reader_only(method: str) -> None:
    """Python 3.14 starts workers by forkserver: then their parent in the system is not the reader."""
    context: Any = multiprocessing.get_context(method)
    here, there = context.Pipe()
    worker = context.Process(target=wait, args=(there,), daemon=True)
    with signals_held(context):
        worker.start()
    try:
        assert here.poll(60)
        for sent in ("INT", "TERM"):
            subprocess.run(["kill", f"-{sent}", str(worker.pid)], check=True)
        worker.join(0.3)
        assert worker.is_alive()
        worker.terminate()
        worker.join(10)
        assert worker.exitcode == 0
    finally:
        worker.kill()


# A library that starts a thread in every forked process, as wandb's telemetry does.
THREADED_FORK = """
import multiprocessing, os, subprocess, threading, time
def start():
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
os.register_at_fork(after_in_child=start)
from data.worker import signals_held
from tests.helpers.waiting import wait
context = multiprocessing.get_context("fork")
here, there = context.Pipe()
worker = context.Process(target=wait, args=(there,), daemon=True)
with signals_held(context):
    worker.start()
here.recv()
subprocess.run(["kill", "-TERM", str(worker.pid)], check=True)
worker.join(1)
print(worker.is_alive())
worker.kill()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="workers elsewhere end with any signal")
def test_threads_that_libraries_start_in_a_fork_do_not_end_a_worker() -> None:
    line = [sys.executable, "-c", THREADED_FORK]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True\n"
