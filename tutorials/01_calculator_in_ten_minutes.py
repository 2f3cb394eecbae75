# %% [markdown]
# # 1. The calculator in ten minutes
#
# `DeepSpin` is an ASE calculator whose energy depends on positions, cell *and magnetic moments*. This script goes
# through what it gives and what you can do with it, on nickel oxide, the textbook antiferromagnet:
#
# 1. a structure with moments
# 2. energy, forces, stress, magnetic forces and torques
# 3. a tilted moment: torque and energy fit together
# 4. the magnetic force as a field in tesla
# 5. many structures at once
# 6. relaxing positions and moments together
# 7. second derivatives: stability, exchange, phonons
# 8. writing and reading results
# 9. errors that everybody meets once
#
# It takes well under a minute. Figures and files go to the directory in the environment variable
# `DEEPSPIN_TUTORIAL_OUTPUT`, or to `tutorial_output/`.

# %%
import os
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.calculators.calculator import PropertyNotImplementedError
from ase.neighborlist import neighbor_list
from ase.optimize import FIRE
from ase.units import GPa

from deepspin_ase import (
    DeepSpin,
    DeepSpinError,
    SpinLatticeFilter,
    collinear_order,
    get_moments,
    read_results,
    rotate_with_moments,
    set_moments,
    write_results,
)
from deepspin_ase.moments import tilt
from deepspin_ase.quantities import MU_B

output = Path(os.environ.get("DEEPSPIN_TUTORIAL_OUTPUT", "tutorial_output"))
output.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## 1. A structure with moments
#
# Below 523 K the moments of NiO form ferromagnetic (111) sheets of alternating direction ("AFM II"): a wave with the
# propagation vector q = (½, ½, ½) of the rock-salt primitive cell. `collinear_order` builds it on any supercell that
# the wave fits into. A moment is a vector in µB per atom; `set_moments` stores it where ASE keeps moments, and
# `get_moments` always returns (n, 3).
#
# Lattice constant and length of the moments are those of the first-principles data behind the shipped model `nio`.
# How it was made, how good it is and what it does not know is written on its card,
# `deepspin_ase.model.zoo.model_card("nio")`; `deepspin models` lists the shipped models.

# %%
LATTICE_CONSTANT = 4.186  # Å
MOMENT = 1.2737  # µB on Ni

primitive = bulk("NiO", "rocksalt", a=LATTICE_CONSTANT)
atoms = make_supercell(primitive, [[2, 2, 0], [0, 2, 2], [2, 0, 2]])  # 32 atoms
order = collinear_order(atoms, {"Ni": MOMENT, "O": 0.0}, q=(0.5, 0.5, 0.5), cell=primitive.cell.array)
set_moments(atoms, order)

nickel = np.flatnonzero(atoms.numbers == 28)
print(f"NiO, {len(atoms)} atoms: {(order[nickel, 2] > 0).sum()} Ni up, {(order[nickel, 2] < 0).sum()} Ni down")

# %% [markdown]
# ## 2. Everything from one calculation
#
# One calculation gives all first derivatives; asking for another property of the same state costs nothing. What ASE
# knows has ASE's methods; the two magnetic properties have methods of the calculator.
#
# | property | definition | shape | unit |
# |---|---|---|---|
# | energy | E(R, cell, m) | | eV |
# | forces | −∂E/∂R at fixed moments | (n, 3) | eV/Å |
# | stress | (1/V) ∂E/∂ε, tension positive, xx yy zz yz xz xy | (6,) | eV/Å³ |
# | magnetic forces F^m | −∂E/∂m at fixed positions | (n, 3) | eV/µB |
# | magnetic torques τ | m × F^m | (n, 3) | eV/rad |

# %%
calc = DeepSpin("nio")
atoms.calc = calc

energy = atoms.get_potential_energy()
forces = atoms.get_forces()
pressure = -atoms.get_stress()[:3].mean() / GPa
magnetic_forces = calc.get_magnetic_forces(atoms)
torques = calc.get_magnetic_torques(atoms)

print(f"energy               {energy / len(nickel):.4f} eV per NiO")
print(f"largest force        {np.abs(forces).max():.1e} eV/Å")
print(f"pressure             {pressure:.1f} GPa")
print(f"largest torque       {1e3 * np.abs(torques).max():.1e} meV")
print(f"magnetic force on Ni {1e3 * magnetic_forces[nickel[0]]} meV/µB")

# %% [markdown]
# In the perfect crystal forces and torques vanish by symmetry, and so do the magnetic forces on oxygen. What remains
# is the magnetic force *along* the nickel moments: it would change their length, which the model keeps as you give
# it. (The training data hold one lattice constant, one length of the moment and no stress, so the pressure and this
# part are not things to rely on. A model card says such things.)
#
# ## 3. Tilt a moment
#
# A torque is the change of the energy under rotation: turning a moment by δ about the unit axis n̂ changes the energy
# by −δ n̂·τ. Here one moment turns about y, while all others stay. ASE's cache sees the new moment and the calculator
# starts anew, even for a change in place.

# %%
first = nickel[0]
axis = np.array([0.0, 1.0, 0.0])
angles = np.radians(np.linspace(0, 180, 37))
turned = atoms.copy()
turned.calc = calc

energies, slopes = [], []
for angle in angles:
    moments = order.copy()
    moments[first] = order[first, 2] * np.array([np.sin(angle), 0.0, np.cos(angle)])
    set_moments(turned, moments)
    energies.append(turned.get_potential_energy())
    slopes.append(-axis @ calc.get_magnetic_torques(turned)[first])
energies, slopes = 1e3 * (np.array(energies) - energy), 1e3 * np.array(slopes)

middle = (angles[1:] + angles[:-1]) / 2
differences = np.diff(energies) / np.diff(angles)
slope_error = np.abs(differences - np.interp(middle, angles, slopes)).max()
print(f"turning one moment round costs {energies[-1]:.0f} meV; largest slope {slopes.max():.0f} meV/rad")
print(f"largest difference between torque and finite difference of the energy: {slope_error:.2f} meV/rad")

figure, left = plt.subplots(figsize=(5, 3.4), layout="constrained")
left.plot(np.degrees(angles), energies, "k")
left.set(xlabel="angle of one moment (°)", ylabel="energy (meV)")
right = left.twinx()
right.plot(np.degrees(angles), slopes, "C3", label="−n̂·τ")
right.plot(np.degrees(middle), differences, "C3o", ms=3, mfc="none", label="ΔE/Δθ")
right.set_ylabel("slope (meV/rad)", color="C3")
right.legend(loc="lower center")
figure.savefig(output / "01_one_moment.png", dpi=150)
plt.close(figure)

# %% [markdown]
# ## 4. A field in tesla
#
# A magnetic force is an effective field in other units, B = F^m / µB: 1 meV/µB is 17.3 T. Only its part *across* the
# moment turns it: the moment goes round the field at 0.176 rad/ps per tesla, which is about 3 rad/ps for each meV/µB.

# %%
moments = order.copy()
moments[first] = MOMENT * np.array([np.sin(np.radians(10)), 0.0, np.cos(np.radians(10))]) * np.sign(order[first, 2])
set_moments(turned, moments)
field = calc.get_magnetic_forces(turned)[first] / MU_B
direction = moments[first] / MOMENT
across = field - (field @ direction) * direction
print(f"a moment tilted by 10° feels {np.linalg.norm(across):.0f} T across, {field @ direction:.0f} T along itself")

# %% [markdown]
# ## 5. Many structures at once
#
# `evaluate_many` takes any number of structures of any size and evaluates them in batches, which saves overhead: for
# cells of a few atoms it is about twice as fast. The results are those of single calculations, to round-off. Each
# entry is a dictionary with the same keys as `calc.results`.

# %%
rng = np.random.default_rng(1)
states = []
for degrees in np.linspace(2, 40, 20):
    state = atoms.copy()
    moments = order.copy()
    moments[nickel] = tilt(order[nickel], degrees, rng)  # each towards a random side
    set_moments(state, moments)
    states.append(state)

results = calc.evaluate_many(states)
print("energy above the ordered state, meV per Ni, for random tilts of 2 to 40°:")
print(np.array([1e3 * (r["energy"] - energy) / len(nickel) for r in results]).round(2))
single = calc.get_potential_energy(states[7])
print(f"batch and single calculation differ by {abs(results[7]['energy'] - single):.1e} eV")

# %% [markdown]
# ## 6. Relax positions and moments together
#
# `SpinLatticeFilter` shows positions and directions of moments (on request also their lengths, and the cell) to any
# optimizer of ASE. `residuals()` says in physical units how far the result is from equilibrium.
#
# From an exactly collinear state no torque acts, so a relaxation has to start from tilted moments.

# %%
disturbed = atoms.copy()
disturbed.calc = calc
disturbed.positions += rng.normal(0, 0.03, (len(atoms), 3))
moments[nickel] = tilt(order[nickel], 20.0, rng)
set_moments(disturbed, moments)

degrees_of_freedom = SpinLatticeFilter(disturbed)
history = []
optimizer = FIRE(degrees_of_freedom, logfile=None)
optimizer.attach(lambda: history.append(disturbed.get_potential_energy() - energy))
optimizer.run(fmax=1e-3, steps=500)
print(f"{optimizer.nsteps} steps, energy above the perfect crystal {history[0]:.3f} -> {history[-1]:.1e} eV")
print(degrees_of_freedom.residuals())

i, j = neighbor_list("ij", atoms, LATTICE_CONSTANT + 0.1)
distances = neighbor_list("d", atoms, LATTICE_CONSTANT + 0.1)
second = (distances > LATTICE_CONSTANT - 0.1) & np.isin(i, nickel) & np.isin(j, nickel)
final = get_moments(disturbed) / MOMENT
angle = np.degrees(np.arccos(np.clip(np.einsum("ba,ba->b", final[i[second]], final[j[second]]), -1, 1)))
print(f"second neighbours, Ni-O-Ni in a line: angle {angle.min():.2f}° to {angle.max():.2f}°")

figure, panel = plt.subplots(figsize=(5, 3.4), layout="constrained")
panel.semilogy(1e3 * np.maximum(history, 1e-9))
panel.set(xlabel="step", ylabel="energy above the ordered crystal (meV)", title="joint relaxation")
figure.savefig(output / "01_relaxation.png", dpi=150)
plt.close(figure)

# %% [markdown]
# Second neighbours are antiparallel again. The common axis is not where it was: without spin-orbit coupling every
# axis is as good as any other. And there is more freedom: the second-neighbour bonds join the nickel atoms to four
# separate simple cubic lattices, and the exchange fields of one on another cancel. In this model the angles between
# the four cost nothing in the perfect crystal; in nature terms beyond bilinear exchange, and spin-orbit coupling,
# choose among them.
#
# ## 7. Second derivatives
#
# `get_hessian` gives exact second derivatives with respect to positions, moments or both. For motion at fixed length
# of the moments the spin Hessian needs its curvature term, P_i [H_ij + δ_ij (F^m_i·m̂_i)/|m_i|] P_j, where P projects
# across the moment. For moments along z that means the x and y components.

# %%
hessian = calc.get_hessian(atoms, kind="moments")  # (n, 3, n, 3), eV/µB²
along = magnetic_forces[nickel, 2] * np.sign(order[nickel, 2]) / MOMENT
stiffness = hessian[np.ix_(nickel, [0, 1], nickel, [0, 1])].reshape(2 * len(nickel), -1)
stiffness += np.diag(np.repeat(along, 2))
modes = 1e3 * MOMENT**2 * np.linalg.eigvalsh(stiffness)  # meV/rad²
print(f"spin stiffnesses: {np.sum(np.abs(modes) < 1e-6)} are zero, the others {modes[8]:.0f} to {modes[-1]:.0f} meV")

# %% [markdown]
# No mode is negative: the order is stable. Eight are zero to round-off: the rotations of the four cubic lattices, two
# each.
#
# Exchange constants follow from the same matrix, J_ij = −|m_i||m_j| H_ij for i ≠ j (E = −½ Σ_{i≠j} J_ij e_i·e_j; J >
# 0 is ferromagnetic). In a periodic cell H_ij is the sum over all images of j, here three second-neighbour bonds.

# %%
pair_i, pair_j = i[second][0], j[second][0]
bonds = np.sum((i[second] == pair_i) & (j[second] == pair_j))
j2 = -1e3 * MOMENT**2 * (hessian[pair_i, 0, pair_j, 0] + hessian[pair_i, 1, pair_j, 1]) / 2 / bonds
print(f"exchange of second neighbours: {j2:.1f} meV per bond ({bonds} bonds between one pair in this cell)")

# %% [markdown]
# The position Hessian gives phonons; here those at Γ, from the magnetic primitive cell of four atoms. For whole
# dispersions pass the force constants to phonopy: `H.transpose(0, 2, 1, 3)` is its layout.

# %%
small = make_supercell(primitive, [[0, 1, 1], [1, 0, 1], [1, 1, 0]])
set_moments(small, collinear_order(small, {"Ni": MOMENT, "O": 0.0}, (0.5, 0.5, 0.5), cell=primitive.cell.array))
roots = np.sqrt(np.repeat(small.get_masses(), 3))
dynamical = calc.get_hessian(small).reshape(12, 12) / np.outer(roots, roots)  # eV/(Å² amu)
values = np.linalg.eigvalsh(dynamical)
frequencies = np.sign(values) * np.sqrt(np.abs(values)) * 15.633302  # THz for eV/(Å² amu)
print("phonons at Γ of the magnetic cell (THz):", np.abs(frequencies).round(2))

# %% [markdown]
# ## 8. Write and read results
#
# ASE's own writers drop magnetic forces, because ASE does not know them. `write_results` and `read_results` keep
# everything, as extended XYZ or `.traj`, and other programs can read these files, too. For a run that writes as it
# goes, attach `deepspin_ase.data.ResultsWriter` to the optimizer or the dynamics.

# %%
disturbed.get_potential_energy()
write_results(output / "01_relaxed.extxyz", disturbed)
(again,) = read_results(output / "01_relaxed.extxyz")
same = np.allclose(again.calc.get_magnetic_forces(again), calc.get_magnetic_forces(disturbed), atol=1e-8)
print(f"read back: {again.get_potential_energy():.6f} eV, magnetic forces {'kept' if same else 'LOST'}")

# %% [markdown]
# ## 9. Errors that everybody meets once
#
# Messages say what was given, what is allowed and what to do. All errors of the package are `DeepSpinError`; most are
# `ValueError`s, too.

# %%
wrong = {
    "a species the model does not know": lambda: calc.get_potential_energy(bulk("Fe")),
    "a model that does not exist": lambda: DeepSpin("cobalt"),
    "moments of the wrong shape": lambda: set_moments(atoms, [1.0, 2.0]),
    "a wave that does not fit the cell": lambda: collinear_order(primitive, 1.0, q=(0.5, 0.5, 0.5)),
    "spin-orbit coupling that was not trained": lambda: DeepSpin("nio", spin_orbit=True),
    "uncertainty of a single model": lambda: calc.get_uncertainty(atoms),
}
for what, action in wrong.items():
    try:
        action()
    except DeepSpinError as error:
        print(f"* {what}: {error}")
    else:
        raise AssertionError(f"no error for {what}")

# %% [markdown]
# A few are not errors of this package, but ways in which ASE handles moments:
#
# * a structure without moments is evaluated with zero moments; DeepSpin warns, because that is rarely meant;
# * `ase.build.bulk("Fe")` comes with scalar moments and refuses vectors on top: `set_moments` always works;
# * a molecule has no volume, so no stress;
# * `atoms.rotate` turns positions but not moments: use `rotate_with_moments`.

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    DeepSpin("nio").get_potential_energy(primitive)
print("*", caught[0].message)

iron = bulk("Fe", cubic=True)
try:
    iron.set_initial_magnetic_moments([[0, 0, 2.2], [0, 0, -2.2]])
except ValueError as error:
    print("* ASE:", error)
set_moments(iron, [[0, 0, 2.2], [0, 0, -2.2]])

molecule = Atoms("NiO", positions=[[0, 0, 0], [0, 0, 1.7]], magmoms=[[0, 0, 1.2], [0, 0, 0]])
try:
    calc.get_stress(molecule)
except PropertyNotImplementedError as error:
    print("* a molecule has no stress:", type(error).__name__, error)

turned = disturbed.copy()
rotate_with_moments(turned, 30, "z")
change = calc.get_potential_energy(turned) - calc.get_potential_energy(disturbed)
print(f"* lattice and moments turned together: the energy changes by {abs(change):.0e} eV")

# %% [markdown]
# Next: tutorial 2 trains a model on frames of your own. The guide `docs/calculator.md` has all options, committees
# with uncertainties, compiled evaluation and precision.
#
# What this script must have found; the package's tests hold it to that.

# %%
assert np.abs(torques).max() < 1e-6
assert slope_error < 1.0
assert abs(results[7]["energy"] - single) < 1e-9
assert abs(history[-1]) < 1e-3
assert angle.min() > 179.0
assert modes[0] > -1e-6
assert -25.0 < j2 < -10.0
assert np.abs(frequencies[:3]).max() < 0.05
assert same
assert abs(change) < 1e-8
