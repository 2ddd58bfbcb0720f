"""Time and peak memory of one call, on the CPU or a GPU."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def seconds(call: Callable[[], Any], device: str) -> float:
    """The wall time of one call, on a GPU until its work is done."""
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_megabytes(call: Callable[[], Any], device: str) -> tuple[float, float]:
    """Seconds of the call, and how far memory rose above what it was before."""
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        taken = seconds(call, device)
        return taken, (torch.cuda.max_memory_allocated() - before) / 2**20
    # What drawing the inputs has freed goes back first, else the call would reuse it unseen.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew at what is used now
    before = _status("VmRSS")
    taken = seconds(call, device)
    return taken, (_status("VmHWM") - before) / 2**10


def _status(field: str) -> int:
    """A field of /proc/self/status, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise RuntimeError(f"peak memory is read from /proc, which has no {field} here: this needs Linux")
