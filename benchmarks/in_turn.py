"""Programs measured in turn, each in a process of its own; the best of several rounds counts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

Table = dict[str, dict[str, float]]


def best_of(programs: Mapping[str, tuple[str | Path, Path]], rounds: int, rate: str, *arguments: str) -> Table:
    """Run all programs (name -> Python, script) ``rounds`` times; of every row the one with the highest ``rate``."""
    table: Table = {}
    for _ in range(rounds):
        for program, (python, script) in programs.items():
            for name, row in case(python, script, *arguments).items():
                best = table.setdefault(f"{program}: {name}", row)
                if row[rate] > best[rate]:
                    table[f"{program}: {name}"] = row
    return table


def case(python: str | Path, script: Path, *arguments: str) -> Table:
    """One program in a process of its own."""
    command = [str(python), str(script), "--case", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
