"""A call in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def in_fresh_process(function: Callable[..., Result], *values: object) -> Result:
    """What `function(*values)` gives; `function` stands at the top of a module.

    For libraries that leave something behind: OpenVINO replaces the thread's alternate signal stack by memory
    that it later unmaps; a SIGCHLD with torch's handler for the workers of a DataLoader is then a SIGSEGV.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *values).result()
