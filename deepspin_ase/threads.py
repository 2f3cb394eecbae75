"""How many threads compiled loops may use."""

from __future__ import annotations

import os


def thread_count() -> int:
    """The cores of this process, or OMP_NUM_THREADS where it is set."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
