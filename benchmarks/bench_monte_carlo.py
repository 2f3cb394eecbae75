"""Monte Carlo trials per CPU second on one core: simple cubic, 6 neighbours, 27,000 spins at T_c, beside Spirit.

    python benchmarks/bench_monte_carlo.py [--peers-python PATH_OF_PYTHON_WITH_SPIRIT] [--threads 1 2]

A trial is one attempt to change one spin. All programs have the same exchange in double precision and one thread; they
are timed in CPU seconds, several times in turn, and the best time counts. The last column is the energy per site at the
end in units of J, one configuration: it shows that all are at the same temperature. With ``--threads`` the wall time of
eight temperatures on these numbers of threads is measured, too.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import bulk
from in_turn import best_of

PEER = Path(__file__).resolve().parent / "peers" / "spirit" / "monte_carlo.py"
EXCHANGE = 0.020  # eV
CASES = {
    "heat bath": {"heat_bath": 1},
    "Metropolis": {"metropolis": 1},
    "heat bath + 4 overrelaxation": {"heat_bath": 1, "overrelaxation": 4},
}


def sampler(cells: int, temperatures: list[float], threads: int, passes: dict[str, int]) -> Any:
    """Engine of the plugin at temperatures in units of J/k_B, from the ferromagnet."""
    from deepspin_ase import HeisenbergModel
    from deepspin_ase.quantities import K_B
    from deepspin_plugins.curie import MonteCarlo, Moves

    model = HeisenbergModel.from_shells(bulk("Fe", "sc", a=2.5), [EXCHANGE], magnitudes=2.0)
    kelvin = np.array(temperatures) * EXCHANGE / K_B
    size, moves = (cells, cells, cells), Moves(**passes)
    return MonteCarlo(model, size, kelvin, sampler=moves, moments=[[0, 0, 2.0]], threads=threads)


def own(cells: int, sweeps: int) -> dict[str, dict[str, float]]:
    """One temperature on one thread, energy and magnetisation measured after every sweep."""
    table = {}
    for name, passes in CASES.items():
        run = sampler(cells, [1.4429], 1, passes)
        run.thermalize(max(sweeps, 200))
        start = time.process_time()
        series = run.run(sweeps)
        seconds = time.process_time() - start
        trials = sum(passes.values()) * sweeps * series.sites
        energy = float(series.energy[0, -1]) / series.sites / EXCHANGE
        table[name] = {"trials_per_s": trials / seconds, "sites": series.sites, "energy": energy}
    return table


def wall_seconds(threads: int, cells: int, sweeps: int) -> float:
    """Wall time of eight temperatures with exchanges between them."""
    run = sampler(cells, list(np.linspace(1.40, 1.49, 8)), threads, CASES["heat bath"])
    run.run(2)
    start = time.perf_counter()
    run.run(sweeps)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=30, help="sites along each edge")
    parser.add_argument("--sweeps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers-python", type=Path)
    parser.add_argument("--threads", type=int, nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(own(*map(int, options.case))))
        return
    programs = {"deepspin": (sys.executable, Path(__file__))}
    if options.peers_python:
        programs["spirit"] = (options.peers_python, PEER)
    table = best_of(programs, options.repeats, "trials_per_s", str(options.cells), str(options.sweeps))
    print(f"{'program':44s} {'trials/s':>12s} {'E/J per site':>14s}")
    for name, row in table.items():
        print(f"{name:44s} {row['trials_per_s']:12.3g} {row['energy']:14.4f}")
    for threads in options.threads:
        seconds = min(wall_seconds(threads, options.cells, options.sweeps) for _ in range(options.repeats))
        table[f"deepspin: 8 temperatures, {threads} threads"] = {"wall_s": seconds}
        print(f"8 temperatures on {threads} thread(s): {seconds:.2f} s wall")
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
