"""Frames per second of a training step (loss and its gradients), with and without compilation, one thread.

    python benchmarks/bench_training.py [--no-compile]

fcc Fe, 32 atoms a frame, 4 frames a batch, default architecture, float32; labels are random, which costs the same.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from ase.build import bulk
from torch_geometric.data import Batch

from deepspin_ase import Frame, Labels, random_directions, set_moments, write_frames
from deepspin_ase.training.assembly import assemble, training_module
from deepspin_ase.training.batches import step_inputs
from deepspin_ase.training.config import TrainingConfig


def frames(count: int) -> list[Frame]:
    """Rattled 32-atom cells with random moments and labels."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        atoms = bulk("Fe", "fcc", a=3.55, cubic=True) * 2
        atoms.positions += rng.normal(0, 0.05, (32, 3))
        set_moments(atoms, random_directions(atoms, 1.3, rng))
        labels = Labels(
            energy=float(-267 + rng.normal()),
            forces=rng.normal(0, 0.5, (32, 3)),
            magnetic_forces=rng.normal(0, 0.05, (32, 3)),
        )
        made.append(Frame(atoms, labels))
    return made


def measure(config: TrainingConfig, repeats: int) -> tuple[float, float]:
    """Median CPU seconds of a step, and seconds of compilation."""
    assembly = assemble(config)
    module = training_module(assembly, config)
    module.on_fit_start()
    runner = module._runner
    assert runner is not None
    params = list(module.potential.network.parameters())
    slots = max(int(graph.edge_index[1].bincount().max()) for graph in assembly.training)
    step = step_inputs(module.potential, Batch.from_data_list(assembly.training[:4]), slots=slots, padded=128)
    times = []
    for _ in range(repeats + 2):
        start = time.process_time()
        runner(params, step)
        times.append(time.process_time() - start)
    return statistics.median(times[2:]), runner.compile_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.extxyz"
        write_frames(path, frames(8))
        for mode in ("off",) if options.no_compile else ("off", "on"):
            config = TrainingConfig.from_dict(
                {
                    "data": [{"path": str(path), "validation": 0.0}],
                    "optimizer": {"epochs": 1},
                    "runtime": {"compile": mode},
                }
            )
            seconds, compilation = measure(config, 9)
            rows["compiled" if mode == "on" else "eager"] = {
                "frames_per_cpu_second": 4 / seconds,
                "ms_per_atom": 1e3 * seconds / 128,
                "compile_seconds": compilation,
            }
    print(f"{'step':10s} {'frames/CPU s':>13s} {'CPU ms/atom':>12s} {'compilation (s)':>16s}")
    for name, row in rows.items():
        print(
            f"{name:10s} {row['frames_per_cpu_second']:13.1f} {row['ms_per_atom']:12.3f} {row['compile_seconds']:16.0f}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
