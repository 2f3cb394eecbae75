"""Active against random selection: errors against the number of labels, with several seeds.

    python benchmarks/bench_active_learning.py [--seeds 3] [--json FILE] [--figure FILE]

The "first-principles code" is the Heisenberg calculator with J(r), a Landau term and Morse bonds. The pool is what
dynamics makes: most structures are much alike (nearly ferromagnetic, near equilibrium), few are hot, strained or
disordered. The test frames are half of each kind. Both strategies begin with the same random labels and train the same
committees from scratch; then one adds random structures of the pool, the other those that `select` chooses.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk

from deepspin_ase import Frame, ferromagnet, set_moments, write_frames
from deepspin_ase.active_learning import Committee, Exploration, StateExplorer, Trust, select
from deepspin_ase.active_learning.committee import label_sizes
from deepspin_ase.active_learning.config import CommitteeSection
from deepspin_ase.active_learning.training import train_committee
from deepspin_ase.heisenberg import Exponential, Heisenberg, Landau, Morse
from deepspin_ase.model.checkpoint import load_checkpoint
from deepspin_ase.training import evaluate

ERRORS = {"magnetic_force_perp_rmse_mev_per_mub": "F⊥ (meV/µB)", "force_rmse_mev_per_ang": "F (meV/Å)"}
COMMON = StateExplorer(
    states={"tilted": 1}, tilt=15.0, displacement=0.03, strain=0.002, volume=(0.99, 1.01), length_spread=0.02
)
RARE = StateExplorer()


def structures(count: int, rare: float, rng: np.random.Generator) -> list[Atoms]:
    """Structures of both kinds in random order; ``rare`` is the fraction of the second."""
    iron = bulk("Fe", a=2.87, cubic=True) * (2, 2, 1)
    set_moments(iron, ferromagnet(iron, 2.2))
    made: list[Atoms] = []
    for explorer, part in ((COMMON, 1 - rare), (RARE, rare)):
        chosen = explorer.model_copy(update={"count": round(part * count)})
        made += chosen.explore(Exploration((iron,), rng))
    return [made[i] for i in rng.permutation(len(made))]


def label(atoms: Atoms) -> Frame:
    """Energy, forces, stress and magnetic forces of the reference."""
    atoms.calc = Heisenberg(
        exchange=Exponential(strength=0.01, r0=2.5, decay=0.8, cutoff=4.0),
        landau={"Fe": Landau(-0.3, 0.035)},
        lattice=Morse(depth=0.3, r0=2.55, stiffness=1.4, cutoff=4.0),
        normalise=False,
    )
    return Frame.from_calculation(atoms, source="benchmark")


def run(strategy: str, seed: int, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Labels and errors of one strategy."""
    rng = np.random.default_rng(seed)
    pool, test = structures(options.pool, options.rare, rng), [label(a) for a in structures(60, 0.5, rng)]
    chosen = list(range(options.step))
    section = CommitteeSection.model_validate(
        {
            "members": options.members,
            "model": {"cutoff": 4.0, "channels": 8, "layers": 1, "radial": 6, "quadrupoles": 0},
            "optimizer": {"epochs": options.epochs, "batch_size": 4, "learning_rate": 0.02, "warmup_steps": 10},
            "runtime": {"device": "cpu", "compile": "off", "threads": 1, "seed": 10 * seed},
        }
    )
    rows = []
    while True:
        here = folder / f"{'start' if len(chosen) == options.step else strategy}-{seed}-{len(chosen)}"
        frames = [label(pool[i]) for i in chosen]
        write_frames(here / "training.extxyz", frames)
        models = train_committee(
            section, here, training=here / "training.extxyz", validation=None, before=[], say=lambda line: None
        )
        each = [evaluate(load_checkpoint(model)[0], test).errors for model in models]
        rows.append({"labels": len(chosen), **{key: float(np.mean([e[key] for e in each])) for key in ERRORS}})
        print(f"{strategy:7s} seed {seed}: {rows[-1]}", flush=True)
        if len(chosen) >= options.labels:
            return rows
        left = [i for i in range(len(pool)) if i not in set(chosen)]
        if strategy == "random":
            picked = rng.permutation(len(left))[: options.step]
        else:
            committee = Committee(models, device="cpu")
            rest = [pool[i] for i in left]
            deviations = committee.deviations(rest)
            trust = Trust.from_errors(
                committee.errors(frames), label_sizes(frames), committee.error_per_deviation(frames)
            ).widened(deviations)
            found = select(rest, deviations, trust, [f.atoms for f in frames], labels=options.step, fresh=0, rng=rng)
            picked = found.chosen
            if not len(picked):
                return rows
        chosen += [left[int(k)] for k in picked]


def draw(results: dict[str, list[list[dict[str, Any]]]], path: Path) -> None:
    """Errors against labels, a line per seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axis, (key, text) in zip(figure.subplots(1, 2), ERRORS.items(), strict=True):
        for (strategy, runs), colour in zip(results.items(), ("C0", "C3"), strict=True):
            for number, rows in enumerate(runs):
                axis.plot(
                    [row["labels"] for row in rows],
                    [row[key] for row in rows],
                    f"{colour}o-",
                    alpha=0.5,
                    ms=3,
                    label=None if number else strategy,
                )
        axis.set(xlabel="labelled frames", ylabel=f"test RMSE of {text}", yscale="log")
        axis.legend()
    figure.savefig(path, dpi=150)


def labels_to_reach(rows: list[dict[str, Any]], key: str, target: float) -> int | None:
    """Labels after which an error is at most a target; None if it never is."""
    return next((row["labels"] for row in rows if row[key] <= target), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pool", type=int, default=400)
    parser.add_argument("--rare", type=float, default=0.1, help="fraction of the pool that is not near equilibrium")
    parser.add_argument("--step", type=int, default=8, help="labels per iteration")
    parser.add_argument("--labels", type=int, default=32, help="labels at the end")
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--folder", type=Path, help="keeps the trained models; the same command goes on from there")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    results: dict[str, list[list[dict[str, Any]]]] = {"random": [], "active": []}
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(options.seeds):
            for strategy, runs in results.items():
                runs.append(run(strategy, seed, options, options.folder or Path(temporary)))
    for key, text in ERRORS.items():
        needed = [
            labels_to_reach(active, key, random[-1][key])
            for random, active in zip(results["random"], results["active"], strict=True)
        ]
        listed = ", ".join("more than all" if n is None else str(n) for n in needed)
        print(f"{text}: what random selection reaches with {options.labels} labels takes {listed} active ones")
    if options.json:
        settings = {name: getattr(options, name) for name in ("pool", "rare", "step", "members", "epochs")}
        options.json.write_text(json.dumps({"settings": settings, **results}, indent=1) + "\n")
    if options.figure:
        draw(results, options.figure)


if __name__ == "__main__":
    main()
