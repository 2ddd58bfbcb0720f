"""A data worker without torch, which a fork server starts in little time."""

import time
from multiprocessing.connection import Connection

from data.worker import end_with_reader_only


def wait(ready: Connection) -> None:
    """Tells when its signals are set, and waits for them."""
    end_with_reader_only(0)
    ready.send("ready")
    time.sleep(60)
