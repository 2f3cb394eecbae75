"""Run a program in a directory, with a time limit, and leave nothing running behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from deepspin_ase.errors import InputError


def run_program(command: Sequence[str], directory: Path, log: str, timeout: float) -> str:
    """Run a program to its end.

    If a program that an earlier, killed caller started in this directory is still alive, it is ended first.

    Parameters
    ----------
    command
        Program and arguments.
    directory
        Where it runs.
    log
        File there that takes its output.
    timeout
        s.

    Returns
    -------
    str
        Empty, or what went wrong (time limit, exit status).

    Raises
    ------
    InputError
        There is no such program.
    """
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    note = directory / "program.pid"
    _end_orphan(note)
    with (directory / log).open("wb") as output:
        try:
            process = subprocess.Popen(
                list(command),
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise InputError(f"there is no program {command[0]!r}; install it or give its path") from None
        note.write_text(f"{socket.gethostname()} {process.pid} {_start_time(process.pid)}\n", encoding="utf-8")
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            return f"{command[0]} took longer than {timeout:g} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            note.unlink(missing_ok=True)
    return "" if status == 0 else f"{command[0]} ended with status {status}; see {log}"


def _end_orphan(note: Path) -> None:
    """End the program that is noted, if it still runs on this computer."""
    try:
        host, pid, start = note.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return
    if host == socket.gethostname() and start != "?" and _start_time(int(pid)) == start:
        os.killpg(int(pid), signal.SIGKILL)
        while _start_time(int(pid)) == start:
            time.sleep(0.01)


def _start_time(pid: int) -> str:
    """When a process started, in the kernel's units: with the number it names a process for good. "?" if it is gone."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:  # ended, or a system without /proc
        return "?"
    return "?" if state == "Z" else fields[18]
