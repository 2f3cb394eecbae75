# %% [markdown]
# # 2. Train your own model
#
# From labelled frames to a potential whose exchange constants can be trusted. The labels come from a model that is
# known exactly, so that at the end not only errors, but also the physics can be compared with the truth:
#
# 1. a reference: an iron-like crystal with distance-dependent exchange, a longitudinal (Landau) energy and Morse
#    bonds
# 2. labelled frames, written to disk
# 3. the training file, and the training: in Python, or with `deepspin train`
# 4. errors on frames that the model has never seen
# 5. the check: exchange constants J(r) and magnons of the trained model against the exact ones
#
# With your own first-principles data, leave step 1 out, and read them instead of step 2: `read_frames("OUTCAR")`,
# `read_frames("OUT.ABACUS")`, ... (`deepspin convert` does it on the command line).
#
# The script takes about two minutes on one core. Files and figures go to the directory in the environment variable
# `DEEPSPIN_TUTORIAL_OUTPUT`, or to `tutorial_output/`.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms
from ase.build import bulk

from deepspin_ase import (
    DeepSpin,
    Frame,
    Heisenberg,
    ferromagnet,
    get_moments,
    random_directions,
    read_frames,
    set_moments,
    write_frames,
)
from deepspin_ase.heisenberg import Exponential, Landau, Morse
from deepspin_ase.moments import tilt
from deepspin_ase.training import TrainingConfig, evaluate, train

output = Path(os.environ.get("DEEPSPIN_TUTORIAL_OUTPUT", "tutorial_output"))
output.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## 1. The reference
#
#     E = −½ Σ_{i≠j} J(r_ij) m_i·m_j + Σ_i (a m_i² + b m_i⁴) + ½ Σ_{i≠j} V(r_ij)
#
# `normalise=False` lets the exchange act on the moments themselves, J in eV/µB²: the energy is then smooth at |m| =
# 0, as it is in the network. `a` and `b` are chosen such that the ferromagnet has moments of 2.2 µB, where 2a + 4b m²
# = Σ_j J_ij.

# %%
MOMENT = 2.2  # µB
LATTICE_CONSTANT = 2.87  # Å

exchange = Exponential(strength=0.008, r0=2.49, decay=0.6, cutoff=4.5)  # J(r), eV/µB²


def reference() -> Heisenberg:
    """The exact calculator that labels the frames."""
    return Heisenberg(
        exchange=exchange,
        landau={"Fe": Landau(a=-0.0496, b=0.01)},
        lattice=Morse(depth=0.3, r0=2.7, stiffness=1.6, cutoff=4.5),
        normalise=False,
    )


# %% [markdown]
# ## 2. Labelled frames
#
# A model knows what it has seen. Whatever will vary in use must vary in the data: here the lattice constant, the
# shape of the cell, the positions, the *directions* of the moments from nearly ferromagnetic to random, and their
# *lengths*. A set of collinear states alone says nothing about torques.
#
# The size of the cell matters, too. An atom and its periodic images carry the same moment, so the data know only the
# sum of the exchange to all of them. In the cubic cell with 16 atoms that sum is J1 + 3 J4 for the nearest
# neighbours: a model trained there has small errors and can still be wrong by several per cent in J1, with a spurious
# J4 to make up for it. In the cell of 3 × 3 × 3 primitive cells below, J1 and J2 share their atoms only with pairs at
# 5 Å and beyond.
#
# `Frame.from_calculation` takes energy, forces, stress and magnetic forces from the calculator. `deepspin inspect
# FILE` shows what a file of frames holds and whether its magnetic forces are the gradient of its energies.


# %%
def random_structure(rng: np.random.Generator) -> Atoms:
    """27 atoms of strained, hot, magnetically disordered iron."""
    atoms = bulk("Fe", a=LATTICE_CONSTANT * rng.uniform(0.97, 1.03)).repeat(3)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.01, (3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(0, rng.uniform(0.01, 0.06), (len(atoms), 3))
    if rng.random() < 0.5:
        moments = tilt(ferromagnet(atoms, MOMENT), rng.uniform(0, 90), rng, uniform=True)
    else:
        moments = random_directions(atoms, MOMENT, rng)
    set_moments(atoms, moments * rng.normal(1.0, 0.1, (len(atoms), 1)))
    return atoms


def labelled(count: int, seed: int) -> list[Frame]:
    rng = np.random.default_rng(seed)
    frames = []
    for index in range(count):
        atoms = random_structure(rng)
        atoms.calc = reference()
        frames.append(Frame.from_calculation(atoms, source="tutorial", index=index))
    return frames


write_frames(output / "iron.extxyz", labelled(200, seed=1))
write_frames(output / "iron_unseen.extxyz", labelled(30, seed=2))
first = read_frames(output / "iron.extxyz")[0]
print(f"200 frames of {len(first)} atoms with {', '.join(first.labels.available)}")

# %% [markdown]
# ## 3. The training file
#
# Everything that the training depends on is in one YAML file. `deepspin train --init train.yaml` writes one with
# every option explained. Only `data` and a budget are required; the rest below departs from the defaults because this
# is a small problem:
#
# * one layer is enough for pair interactions within the cutoff (real materials: the default, two);
# * 16 channels are quick (default 32; more for many elements);
# * a compiled training step is about twice as fast but takes a minute or more to compile; it pays for longer runs.
#
# A budget in epochs makes the result reproducible. `max_minutes: 30` is handier in practice: the learning rate then
# follows the clock, and the run ends in time.

# %%
settings = f"""\
data:
  - path: iron.extxyz          # relative to this file
    validation: 0.1
model:
  cutoff: 4.5
  channels: 16
  layers: 1
optimizer:
  epochs: 100
  learning_rate: 0.02
  batch_size: 8
  weight_decay: 0.05         # keeps terms small that the data do not ask for
runtime:
  compile: off
  output: {(output / "iron").resolve()}
"""
(output / "iron.yaml").write_text(settings, encoding="utf-8")

# %% [markdown]
# The command line does the whole step with
#
#     deepspin train tutorial_output/iron.yaml
#
# and `--resume` continues a run that was interrupted. In Python the same is two lines. (`TrainingConfig.from_dict`
# takes a dictionary instead of a file. Unknown or impossible options are refused with the name of what you may have
# meant.)

# %%
config = TrainingConfig.from_file(output / "iron.yaml")
result = train(config, overwrite=True, say=print)

# %% [markdown]
# The output directory holds `model.pt`, its card `model.md`, `report.json`, `parity.png` and `learning_curves.png`.
# The card, with data, settings and errors, is also inside `model.pt`, so a model can always say where it comes from.

# %%
print(f"{result.card['training']['epochs']} epochs, {result.card['training']['cpu_minutes']:.1f} CPU minutes")
print("files:", ", ".join(sorted(path.name for path in result.output.iterdir() if path.is_file())))

# %% [markdown]
# ## 4. Errors on unseen frames
#
# Energies are compared without any shift. The error of the magnetic force is split into the part across the moment,
# which turns it, and the part along it, which stretches it. `deepspin evaluate --model MODEL --frames FRAMES` prints
# the same.

# %%
unseen = read_frames(output / "iron_unseen.extxyz")
errors = evaluate(result.potential, unseen).errors
spread = {
    "energy": 1e3 * np.std([frame.energy_per_atom for frame in unseen]),
    "force": 1e3 * np.std([frame.labels.forces for frame in unseen]),
    "magnetic_force": 1e3 * np.std([frame.labels.magnetic_forces for frame in unseen]),
}
rmse = {
    "energy": errors["energy_rmse_mev_per_atom"],
    "force": errors["force_rmse_mev_per_ang"],
    "stress": errors["stress_rmse_mev_per_ang3"],
    "magnetic force, across": errors["magnetic_force_perp_rmse_mev_per_mub"],
    "magnetic force, along": errors["magnetic_force_par_rmse_mev_per_mub"],
}
units = ("meV/atom", "meV/Å", "meV/Å³", "meV/µB", "meV/µB")
for (name, value), unit in zip(rmse.items(), units, strict=True):
    print(f"{name:24s} RMSE {value:8.3f} {unit}")
print("spread of the labels:", ", ".join(f"{name} {value:.0f}" for name, value in spread.items()))

# %% [markdown]
# ## 5. Is the physics right?
#
# Small errors on average do not prove that derivatives are right. The spin Hessian H_ij = ∂²E/∂m_i∂m_j is an
# independent check, because no label contains it. The exchange constants in the package's convention (E = −½ Σ_{i≠j}
# J_ij e_i·e_j, unit vectors, so each bond once) are
#
#     J_ij = −|m_i||m_j| H_ij,   i ≠ j
#
# Here J_ij should be |m_i||m_j| J(r_ij), with the J(r) from step 1. We take the components across the moments, which
# are those of magnons; those along them are stiffness against stretching. The model has seen 27 atoms; we ask for 54,
# where pairs within 4.3 Å do not meet their own images, and for three lattice constants.

# %%
calc = DeepSpin(result.model)


def exchange_constants(a: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances (Å) and J (meV) from atom 0 to the others in a ferromagnetic crystal, moments along z."""
    atoms = bulk("Fe", a=a, cubic=True).repeat(3)
    set_moments(atoms, ferromagnet(atoms, MOMENT))
    length = np.linalg.norm(get_moments(atoms), axis=1)
    hessian = calc.get_hessian(atoms, kind="moments")  # (n, 3, n, 3), eV/µB²
    across = (hessian[0, 0, 1:, 0] + hessian[0, 1, 1:, 1]) / 2
    return atoms.get_distances(0, range(1, len(atoms)), mic=True), -1e3 * length[0] * length[1:] * across


found = {a: exchange_constants(a) for a in (2.81, 2.87, 2.93)}
distance = np.concatenate([r for r, _ in found.values()])
learned = np.concatenate([j for _, j in found.values()])
exact = 1e3 * MOMENT**2 * exchange(distance)
near = distance < 4.2

for a, (r, j) in found.items():
    for shell in np.unique(r[r < 4.2].round(3)):
        here = np.abs(r - shell) < 0.01
        print(
            f"a = {a} Å, r = {shell:.3f} Å, {here.sum():2d} neighbours: J = {j[here].mean():7.3f} meV, "
            f"exact {1e3 * MOMENT**2 * exchange(shell):7.3f} meV"
        )
deviation = np.abs(learned - exact)[near].max()
beyond = np.abs(learned[~near]).max()
print(f"largest deviation {deviation:.3f} meV; largest J beyond 4.2 Å {beyond:.3f} meV")

# %% [markdown]
# What depends on all neighbours at once is a harder test: the magnons of the ferromagnet, ħω(q) = (2/|m|)[J(0) −
# J(q)] with J(q) = Σ_j J_0j cos(q·R_j). Small errors of distant shells would add up there, most of all in the
# spin-wave stiffness at small q.

# %%
atoms = bulk("Fe", a=LATTICE_CONSTANT, cubic=True).repeat(3)
vectors = atoms.get_distances(0, range(1, len(atoms)), mic=True, vector=True)
r, j_learned = found[LATTICE_CONSTANT]
j_exact = 1e3 * MOMENT**2 * exchange(r)
fraction = np.linspace(0, 1, 101)  # Γ to H, in units of 2π/a along x
phase = np.cos(2 * np.pi / LATTICE_CONSTANT * fraction[:, None] * vectors[:, 0])


def magnons(j: np.ndarray) -> np.ndarray:
    """Magnon energies (meV) along Γ-H from J_0j (meV)."""
    return 2 / MOMENT * (j.sum() - phase @ j)


magnon_error = np.abs(magnons(j_learned) - magnons(j_exact)).max() / magnons(j_exact).max()
print(f"magnons: {magnons(j_exact).max():.0f} meV at H, largest deviation {magnon_error:.1%} of it")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
line = np.linspace(2.3, 5.0, 200)
left.plot(line, 1e3 * MOMENT**2 * exchange(line), "k", lw=1, label="exact")
for a, (r, j) in found.items():
    left.plot(r[r < 5], j[r < 5], "o", ms=5, mfc="none", label=f"model, a = {a} Å")
left.set(xlabel="distance (Å)", ylabel="J (meV)", title="exchange from spin Hessians")
left.legend()
right.plot(fraction, magnons(j_exact), "k", lw=1, label="exact")
right.plot(fraction[::5], magnons(j_learned)[::5], "C0o", mfc="none", label="model")
right.set(xlabel="q (2π/a), Γ to H", ylabel="magnon energy (meV)", title="magnons")
right.legend()
figure.savefig(output / "02_exchange.png", dpi=150)
plt.close(figure)

# %% [markdown]
# The first two shells and the magnons come out within a few per cent, from cells and at lattice constants that were
# not in the data. The third shell and everything beyond carry an error of 1 to 2 meV, more than the third shell
# itself: no label asks for a single distant pair. Longer training and more frames reduce it, and `weight_decay` does.
# Look at such a curve before you trust its tail.
#
# Where to go from here: a committee (several trainings with different `runtime.seed`, then `DeepSpin([model_a,
# model_b])`) says where a model is unsure, and `init_from: model.pt` continues from a model when new data arrive.
# `docs/training.md` has all options.
#
# These numbers a run of the script must reach; the package's tests hold it to them.

# %%
assert rmse["energy"] < 2.0, rmse  # of a spread of 100 meV/atom
assert rmse["force"] < 30.0, rmse  # of 500 meV/Å
assert rmse["magnetic force, across"] < 1.0, rmse  # of 130 meV/µB
assert rmse["magnetic force, along"] < 5.0, rmse
assert deviation < 4.0, deviation  # of 39 meV
assert beyond < 5.0, beyond
assert magnon_error < 0.05, magnon_error
