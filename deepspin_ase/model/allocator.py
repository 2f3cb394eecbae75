"""Keep memory between evaluations instead of giving it back to the system each time.

An evaluation makes and drops a few dozen tensors with one row per neighbour. glibc maps blocks above 32 MB (about a
thousand atoms) anew each time, and the kernel zeroes every page of them on first touch: that took up to half of the
time of an evaluation (``benchmarks/bench_speed.py``).
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_TWO_GIB = 2**31 - 1  # the largest value that mallopt takes


@functools.cache
def keep_freed_memory() -> bool:
    """Tell glibc's malloc to reuse freed blocks of up to 2 GiB; the process then keeps up to 2 GiB that it has freed.

    The setting is one of the process, and changes no result. It is left alone where the user has chosen one through the
    environment (``MALLOC_MMAP_THRESHOLD_``, ``MALLOC_TRIM_THRESHOLD_``, ...), and on systems without glibc.

    Returns
    -------
    bool
        Whether the setting was made.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return all(mallopt(option, _TWO_GIB) == 1 for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
