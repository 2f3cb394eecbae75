"""Order of NiO by direct sampling of the model ``nio``, beside that of its exchange constants in the same crystal.

    python benchmarks/neel_temperature_of_nio.py --atoms 32 --sweeps 600

prints both and the factor λ between their temperatures (docs/curie.md). Minutes to an hour, by size; Ctrl-C keeps what
there is, and the same command goes on from it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, make_supercell
from scipy.interpolate import CubicSpline

from deepspin_ase import DeepSpin, Heisenberg, collinear_order, set_moments
from deepspin_plugins.curie import sample_potential
from deepspin_plugins.exchange import exchange_tensors

CELLS = {
    4: [[0, 1, 1], [1, 0, 1], [1, 1, 0]],
    32: [[0, 2, 2], [2, 0, 2], [2, 2, 0]],
    64: [[-2, 2, 2], [2, -2, 2], [2, 2, -2]],
    128: [[4, 0, 0], [0, 4, 0], [0, 0, 4]],
}
ARMS = [(0.5, 0.5, 0.5), (0.5, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0, 0.5)]
"""The four wave vectors of order of type II, fractions of the reciprocal primitive cell."""
HIGHEST = 360.0  # K; above, order in so small crystals says little


def crystal(atoms: int, arms: int = 4) -> tuple[Atoms, np.ndarray]:
    """Ordered NiO of so many atoms, and weights (arms, n); the smallest cell holds one arm."""
    primitive = bulk("NiO", "rocksalt", a=4.186)
    cell = make_supercell(primitive, CELLS[atoms])
    waves = [collinear_order(cell, {"Ni": 1.2737, "O": 0.0}, q, cell=primitive.cell.array) for q in ARMS[:arms]]
    set_moments(cell, waves[0])
    return cell, np.array([np.sign(wave[:, 2]) for wave in waves])


def factor(direct: np.ndarray, temperatures: np.ndarray, exchange: CubicSpline) -> float:
    """λ: direct order at T equals that of exchange at T/λ; mean over temperatures."""
    fine = np.linspace(exchange.x[0], exchange.x[-1], 5000)
    return float(np.mean(temperatures / np.interp(-direct, -exchange(fine), fine)))


def main() -> None:
    """Run both and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int, choices=[32, 64, 128], default=32, help="half of them are Ni")
    parser.add_argument("--sweeps", type=int, default=600)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[220, 260, 290, 320, 350, 380, 420])
    parser.add_argument("--folder", type=Path, default=Path("neel_temperature_of_nio"), help="for restarts")
    parser.add_argument("--compile", action="store_true", help="compile the model first")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)

    cell, _ = crystal(4, arms=1)
    cell.calc = DeepSpin("nio")
    model = exchange_tensors(cell, cutoff=6.0, symmetrise=True).to_model()

    atoms, weights = crystal(options.atoms)
    atoms.calc = Heisenberg(model)
    grid = np.linspace(200.0, 440.0, 9)
    reference = sample_potential(atoms, grid, weights=weights, equilibration=400, sweeps=6000, seed=1)
    order = CubicSpline(grid, np.sqrt((reference.order**2).sum(axis=2)).mean(axis=1))

    atoms.calc = DeepSpin("nio", dtype="float32", compile=options.compile)
    direct = sample_potential(
        atoms,
        options.temperatures,
        weights=weights,
        equilibration=100,
        sweeps=options.sweeps,
        seed=3,
        checkpoint=options.folder / f"{options.atoms}.npz",
    )
    size = np.sqrt((direct.order**2).sum(axis=2))
    print(direct.table())
    print(f"{'T (K)':>8} {'direct':>8} {'exchange':>9}")
    for kelvin, value in zip(direct.temperatures, size.mean(axis=1), strict=True):
        print(f"{kelvin:8.0f} {value:8.4f} {float(order(kelvin)):9.4f}")
    use = direct.temperatures < HIGHEST
    blocks = np.arange(size.shape[1]) * 10 // size.shape[1]
    parts = [factor(size[use][:, blocks != b].mean(axis=1), direct.temperatures[use], order) for b in range(10)]
    value = factor(size[use].mean(axis=1), direct.temperatures[use], order)
    print(f"λ = {value:.4f} ± {np.sqrt(0.9 * np.square(np.array(parts) - np.mean(parts)).sum()):.4f}")


if __name__ == "__main__":
    main()
