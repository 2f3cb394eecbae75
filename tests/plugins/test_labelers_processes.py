"""Programs that are run for us: nothing of them is left behind, whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepspin_plugins.labelers.processes import run_program

SLEEP = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"


def alive(pid: int) -> bool:
    """Whether a process runs (one that is only waiting to be collected does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def written(path: Path) -> str:
    """Wait for a file with something in it."""
    deadline = time.monotonic() + 30
    while not (path.is_file() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return path.read_text()


def test_success_and_failure(tmp_path: Path) -> None:
    assert run_program([sys.executable, "-c", "print('hello')"], tmp_path, "log", 60) == ""
    assert (tmp_path / "log").read_text() == "hello\n"
    assert "status 3; see log" in run_program([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, "log", 60)


def test_the_program_of_a_killed_caller_is_ended_before_the_next_one(tmp_path: Path) -> None:
    caller = f"""
from pathlib import Path
from deepspin_plugins.labelers.processes import run_program
run_program([{sys.executable!r}, "-c", {SLEEP!r}], Path({str(tmp_path)!r}), "log", 60)
"""
    with subprocess.Popen([sys.executable, "-c", caller]) as process:
        orphan = int(written(tmp_path / "pid"))
        written(tmp_path / "program.pid")
        process.send_signal(signal.SIGKILL)
    assert alive(orphan)
    assert run_program([sys.executable, "-c", "pass"], tmp_path, "log", 60) == ""
    assert not alive(orphan)


def test_an_old_process_number_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / "program.pid").write_text(f"{socket.gethostname()} {os.getpid()} 1\n")
    assert run_program([sys.executable, "-c", "pass"], tmp_path, "log", 60) == ""


@pytest.mark.parametrize("text", ["", "elsewhere 1 2", "nonsense"])
def test_notes_of_others_are_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "program.pid").write_text(text)
    assert run_program([sys.executable, "-c", "pass"], tmp_path, "log", 60) == ""
    assert not (tmp_path / "program.pid").exists()
