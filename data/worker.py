"""Which signals a data worker obeys.

Linux delivers a signal of a process to any of its threads that does not block it. So all threads of a worker
must block SIGINT and SIGTERM, also those that libraries start in a forked process before any code of ours
runs there (wandb's telemetry does): the reader blocks both while it starts a worker, which inherits the mask.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

HELD = {signal.SIGINT, signal.SIGTERM}


@contextmanager
def signals_held(context: Any = multiprocessing) -> Iterator[None]:
    """While the reader forks workers by `context`: SIGINT and SIGTERM wait, for it and in all that it starts.

    A fork server is not started like this: it would hand the mask on to processes that are no data workers.
    """
    if sys.platform != "linux" or context.get_start_method() != "fork":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_reader_only(worker: int) -> None:
    """In a data worker: ignores SIGINT, and SIGTERM unless the process that reads its batches sends it.

    torchrun and schedulers signal all processes of a run. A worker that ended first would end the run before
    it has saved. The parent process of the system may be a fork server, so Python's own record is asked.
    """
    reader = multiprocessing.parent_process()
    if sys.platform != "linux" or reader is None:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != reader.pid:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
