"""The memory setting of the process, tried in processes of their own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

REPORT = "from deepspin_ase.model.allocator import keep_freed_memory; print(keep_freed_memory())"

MEASURE = """
import mmap, resource, sys
import numpy as np
from deepspin_ase.model.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def touch():
    np.empty(8_000_000).fill(1.0)  # 64 MB, above glibc's own limit for reuse
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(code: str, *arguments: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env={**clean, **environment}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_freed_memory_is_used_again() -> None:
    assert run(REPORT) == "True"
    assert int(run(MEASURE, "keep")) < 0.1 * int(run(MEASURE, "as it is"))


def test_the_choice_of_the_user_stands() -> None:
    assert run(REPORT, MALLOC_TRIM_THRESHOLD_="100000") == "False"
