"""One process at a time writes a run directory."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from errors import UsageError

log = logging.getLogger(__name__)
NAME = ".lock"


@contextmanager
def locked(directory: Path, remedy: str = "name=NAME") -> Iterator[None]:
    """Holds the lock of a directory that exists; `remedy` is how the user chooses another one.

    The operating system owns the lock, not the file: it ends with the process however that ends, so the file
    that a crash leaves behind blocks no process. POSIX locks also hold between machines that share NFS.

    Raises:
        UsageError: naming the process and the host that hold it.
    """
    path = directory / NAME
    file = _acquired(path, remedy)
    if file is None:
        yield
        return
    with file:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # while it is held: see _acquired


def _acquired(path: Path, remedy: str) -> IO[str] | None:
    """The locked file; None where the file system has no locks."""
    while True:
        file = path.open("a+")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            holder = _holder(path)
            file.close()
            raise UsageError(
                f"{path.parent} is being written by {holder}: wait for its end or stop it, "
                f"or choose another directory with {remedy}"
            ) from None
        except OSError as error:
            file.close()
            log.warning("%s has no file locks (%s): see that one process alone writes there", path, error)
            return None
        # The last holder may have removed the file between open and lock: such a lock excludes no process.
        if path.exists() and os.fstat(file.fileno()).st_ino == path.stat().st_ino:
            break
        file.close()
    file.truncate(0)
    started = datetime.now().isoformat(sep=" ", timespec="seconds")
    file.write(json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": started}))
    file.flush()
    return file


def _holder(path: Path) -> str:
    try:
        facts = json.loads(path.read_text())
        return f"process {facts['process']} on {facts['host']} (since {facts['since']})"
    except (OSError, ValueError, KeyError):
        return "another process"
