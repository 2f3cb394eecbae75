"""Magnon bands of a cell with ten sublattices at many wavevectors: seconds, and the ratio to magnopy in the same run.

    python benchmarks/bench_magnons.py [--points 10000] [--magnopy-python PATH_OF_PYTHON_WITH_MAGNOPY] [--json FILE]

bcc Fe with Pajda's first five shells in a supercell of ten atoms: ferromagnetic, with moments along ±z by layer, and
the latter canted by a field of 300 T. A ferromagnetic chain comes first, to compare conventions. Both programs get the
same bonds; magnopy (numpy, one wavevector at a time) is timed on fewer points. Ratios are of CPU time.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

SHELLS = [1.432, 0.815, -0.016, -0.126, -0.146]  # mRy, both orders counted
MAGNOPY_POINTS = 200

MAGNOPY = """
import json, sys, time
import numpy as np
import magnopy

data = np.load(sys.argv[1])
convention = magnopy.Convention(multiple_counting=True, spin_normalized=False, c1=1.0, c21=-1.0, c22=-0.5)
atoms = {"names": [f"Fe{n}" for n in range(len(data["spins"]))], "positions": data["positions"], "spins": data["spins"],
         "g_factors": [2.0] * len(data["spins"])}
ham = magnopy.SpinHamiltonian(cell=data["cell"], atoms=atoms, convention=convention, units="meV")
for i, j, image, tensor in zip(data["i"], data["j"], data["image"], data["tensor"]):
    scale = 1e3 / (data["spins"][i] * data["spins"][j])  # meV, for spins of length S; every ordered pair
    ham.add([tuple(int(x) for x in image)], [int(i), int(j)], scale * tensor)
if np.any(data["field"]):
    ham.set_magnetic_field(-data["field"])  # its energy is +g µB B·S
waves = magnopy.LSWT(ham, data["directions"])
start = time.process_time()
energies = [waves.omega(q, relative=True) for q in data["q"]]
seconds = time.process_time() - start
print(json.dumps({"seconds": seconds, "energies": np.real(energies).tolist()}))
"""


def spin_waves(order: str, field: tuple[float, ...]):
    """Spin waves of the ten-site cell; the antiferromagnetic model has its interlayer exchange reversed."""
    from ase import Atoms
    from ase.build import bulk
    from ase.units import create_units

    from deepspin_ase.heisenberg import Bonds, HeisenbergModel
    from deepspin_plugins.magnons import SpinWaves, relax_directions

    if order == "chain":  # 4/|m| J (1 - cos q): settles the conventions
        chain = Atoms("Fe", cell=[2.5, 9.0, 9.0], pbc=[True, False, False])
        return SpinWaves.from_model(HeisenbergModel.from_shells(chain, [0.01], magnitudes=2.0), [1.0])
    rydberg = create_units("2018")["Rydberg"]
    atoms = bulk("Fe", a=2.8665, cubic=True).repeat((5, 1, 1))
    shells = [2e-3 * rydberg * value for value in SHELLS]
    model = HeisenbergModel.from_shells(atoms, shells, magnitudes=2.22)
    signs = np.ones(10) if order == "ferromagnet" else np.tile([1.0, -1.0], 5)
    b = model.bonds
    bonds = Bonds(b.i, b.j, b.image, b.tensor * (signs[b.i] * signs[b.j])[:, None, None])
    model = HeisenbergModel.from_bonds(atoms, bonds, magnitudes=2.22, field=field)
    if order == "canted":
        return SpinWaves.from_model(
            model, relax_directions(model, np.column_stack([0.1 + 0 * signs, 0 * signs, signs]))
        )
    return SpinWaves.from_model(model, signs)


def magnopy_case(waves, field: tuple[float, ...], q: np.ndarray, python: Path) -> dict[str, float]:
    """Time and largest difference of energies of magnopy for the same problem."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "case.npz"
        b = waves.bonds
        np.savez(
            file,
            cell=waves.cell,
            positions=waves.positions @ np.linalg.inv(waves.cell),
            spins=waves.magnitudes / 2,
            directions=waves.directions,
            i=b.i,
            j=b.j,
            image=b.image,
            tensor=b.tensor,
            q=q,
            field=field,
        )
        done = subprocess.run([python, "-c", MAGNOPY, file], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    difference = np.abs(np.sort(answer["energies"], axis=1) - waves.energies(q)).max()
    return {"ms_per_point": 1e3 * answer["seconds"] / len(q), "largest_difference_meV": float(difference)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--magnopy-python", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    q = np.random.default_rng(0).uniform(-0.5, 0.5, (options.points, 3))
    rows = []
    for order in ("chain", "ferromagnet", "antiferromagnet", "canted"):
        field = (300.0, 0.0, 0.0) if order == "canted" else (0.0, 0.0, 0.0)
        waves = spin_waves(order, field)
        waves.energies(q[:10])  # imports and the Fourier table
        with ThreadPoolExecutor(options.threads) as pool:
            start, cpu = time.perf_counter(), time.process_time()
            waves.energies(q, executor=pool if options.threads > 1 else None)
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        row = {
            "order": order,
            "points": options.points,
            "threads": options.threads,
            "seconds": seconds,
            "cpu_seconds": cpu,
        }
        line = f"{order:16s} {options.points} points, {options.threads} thread(s): {seconds:6.2f} s (CPU {cpu:.2f} s)"
        if options.magnopy_python is not None:
            peer = magnopy_case(waves, field, q[:MAGNOPY_POINTS], options.magnopy_python)
            row |= {"magnopy": peer, "ratio": peer["ms_per_point"] * options.points / 1e3 / cpu}
            line += f"   magnopy {peer['ms_per_point']:.2f} ms per point: {row['ratio']:.0f} times slower"
            line += f", largest difference {peer['largest_difference_meV']:.1e} meV"
        print(line)
        rows.append(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
