"""Train the tasks one after another on one thread and record the CPU time used against the training step.

Each task writes ``<runs>/<task>/``: DeePMD-kit's own log, ``lcurve.out``, checkpoints, and ``cpu.csv``
(CPU seconds, wall seconds, last reported step, newest checkpoint; one row a minute and one per checkpoint).
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "DP_INTRA_OP_PARALLELISM_THREADS": "1",
    "DP_INTER_OP_PARALLELISM_THREADS": "1",
    "NUM_WORKERS": "0",
}


def cpu_seconds(pid: int) -> float | None:
    """User + system CPU seconds of a process and its finished children; None once the process is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] == "Z":
        return None
    return sum(int(value) for value in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def last_step(folder: Path) -> int:
    """Last step in ``lcurve.out``, 0 before the first."""
    path = folder / "lcurve.out"
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")] if path.exists() else []
    return int(lines[-1].split()[0]) if lines else 0


def newest_checkpoint(folder: Path) -> int:
    """Step of the newest checkpoint, 0 before the first."""
    return max((int(p.stem.rsplit("-", 1)[1]) for p in folder.glob("model.ckpt-*.pt")), default=0)


def train(task: str, runs: Path, dp: str) -> int:
    """Run one training to its end; returns the exit status of ``dp``."""
    folder = runs / task
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / f"input_{task}.json", folder / "input.json")
    start, written, checkpoint = time.monotonic(), float("-inf"), 0
    with open(folder / "train.log", "w") as log, open(folder / "cpu.csv", "w", newline="") as table:
        rows = csv.writer(table)
        rows.writerow(["cpu_s", "wall_s", "step", "checkpoint"])
        command = [dp, "--pt", "train", "input.json"]
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **ONE_THREAD}
        )
        while process.poll() is None:
            cpu, newest, now = cpu_seconds(process.pid), newest_checkpoint(folder), time.monotonic()
            if cpu is not None and (newest > checkpoint or now - written >= 60):
                rows.writerow([f"{cpu:.1f}", f"{now - start:.1f}", last_step(folder), newest])
                table.flush()
                written, checkpoint = now, newest
            time.sleep(2)
    return process.returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="+", choices=["fcc14", "nio"])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="holds systems/ as written by prepare.py")
    parser.add_argument("--dp", default="dp", help="the dp executable of the DeePMD-kit environment")
    args = parser.parse_args()
    failed = [task for task in args.tasks if train(task, args.runs.resolve(), args.dp) != 0]
    if failed:
        raise SystemExit(f"training failed for {', '.join(failed)}: see train.log in its folder")


if __name__ == "__main__":
    main()
