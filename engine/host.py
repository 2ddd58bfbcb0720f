"""Settings of this process that make training on a CPU faster: imported before torch, which reads two.

OpenMP's threads spin by default while they wait for each other, which starves the data workers on the same
cores several times over; a short spin loses nothing on idle cores.

glibc gives a freed feature map back to the operating system, and every step then waits for thousands of new
pages, each filled with zeros. Memory that stays with the process, in pages of 2 MB, costs nothing: the next
step needs it again.
"""

from __future__ import annotations

import ctypes
import os

# Of glibc's malloc.h: blocks that are mapped on their own, and free bytes above which the heap is trimmed.
_MMAP_MAX, _TRIM_THRESHOLD = -4, -1

os.environ.setdefault("GOMP_SPINCOUNT", "20000")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch's: huge pages for tensors of 2 MB or more
try:
    _mallopt = ctypes.CDLL(None).mallopt
except (OSError, AttributeError, TypeError):  # other systems than Linux with glibc
    pass
else:
    _mallopt(_MMAP_MAX, 0)
    _mallopt(_TRIM_THRESHOLD, -1)
