"""Which signals a data worker obeys."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading


def end_with_reader_only(worker: int) -> None:
    """In a data worker: ignores SIGINT, and SIGTERM unless the process that reads its batches sends it.

    torchrun and schedulers signal all processes of a run. A worker that ended first would end the run before
    it has saved. The parent process of the system may be a fork server, so Python's own record is asked.
    """
    reader = multiprocessing.parent_process()
    if sys.platform != "linux" or reader is None:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != reader.pid:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
