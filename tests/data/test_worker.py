from __future__ import annotations

import multiprocessing
import subprocess
import sys
from typing import Any

import pytest

from tests.helpers.waiting import wait


@pytest.mark.skipif(sys.platform != "linux", reason="workers elsewhere end with any signal")
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_worker_ends_with_its_reader_only(method: str) -> None:
    """Python 3.14 starts workers by forkserver: then their parent in the system is not the reader."""
    context: Any = multiprocessing.get_context(method)
    here, there = context.Pipe()
    worker = context.Process(target=wait, args=(there,), daemon=True)
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
