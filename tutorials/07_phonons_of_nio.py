# %% [markdown]
# # 7. Phonons of NiO, and how moments change them
#
# Phonons are the second derivatives of the energy with respect to positions. In a magnet they depend on where the
# moments point, and on whether the moments stay there while the atoms move. This script goes through it with the
# shipped model `nio`, which was trained on constrained density-functional theory:
#
# 1. the same frequencies on three routes
# 2. bands, density of states and heat capacity
# 3. the modes at Γ: what the order does to cubic NiO, and what experiment says
# 4. turned moments: the spin-phonon coupling
# 5. do the moments follow the atoms?
# 6. sound and elasticity: where the training data end
# 7. on with phonopy
#
# It takes about half a minute. Figures and files go to the directory in the environment variable
# `DEEPSPIN_TUTORIAL_OUTPUT`, or to `tutorial_output/`.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase.build import bulk, make_supercell

from deepspin_ase import DeepSpin, collinear_order, set_moments
from deepspin_plugins.phonons import PhononResult, elastic_constants, phonons
from deepspin_plugins.phonons.plots import draw_phonons

output = Path(os.environ.get("DEEPSPIN_TUTORIAL_OUTPUT", "tutorial_output"))
output.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## 1. Three routes
#
# The magnetic primitive cell has four atoms: ferromagnetic (111) sheets of alternating direction double the cell of
# rock salt. As supercell we take the cube of 64 atoms, given by a matrix whose rows are its vectors.
#
# * `"displacements"` moves one Ni and one O (the rest is symmetry) by 0.01 Å,
# * `"random"` moves all atoms at once and lets symfc fit,
# * `"hessian"` differentiates the network twice; there is no step at all.
#
# The differences are what is left of the step: anharmonic forces.

# %%
LATTICE_CONSTANT = 4.186  # Å, that of the data behind the model
MOMENT = 1.2737  # µB on Ni, likewise

primitive = bulk("NiO", "rocksalt", a=LATTICE_CONSTANT)
atoms = make_supercell(primitive, [[0, 1, 1], [1, 0, 1], [1, 1, 0]])
order = collinear_order(atoms, {"Ni": MOMENT, "O": 0.0}, q=(0.5, 0.5, 0.5), cell=primitive.cell.array)
set_moments(atoms, order)
atoms.calc = DeepSpin("nio")
cube = np.rint(2 * LATTICE_CONSTANT * np.linalg.inv(atoms.cell.array)).astype(int)

routes = {method: phonons(atoms, supercell=cube, method=method) for method in ("displacements", "random", "hessian")}
exact = routes["hessian"]
q = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0]]
for method, result in routes.items():
    off = np.abs(result.frequencies(q) - exact.frequencies(q)).max()
    print(f"{method:14s} differs from exact derivatives by {off:.4f} THz at most")

# %% [markdown]
# ## 2. Bands and heat capacity
#
# The path is that of the magnetic cell, which is rhombohedral. (phonopy's own helper for paths does not look at moments
# and would take that of cubic NiO, with two atoms.) Nothing is imaginary: the model's NiO is stable against every
# displacement that fits into the supercell. Γ and F fit into it and are exact; in between, frequencies are
# interpolated, and `range_error` estimates how well.

# %%
bands = exact.bands(spacing=0.04)
dos = exact.dos(10, points=150)
thermal = exact.thermal(np.arange(0.0, 801.0, 20.0), 10)
draw_phonons(bands, dos, title="NiO, antiferromagnetic").savefig(output / "07_bands.png", dpi=150)
thermal.plot().figure.savefig(output / "07_thermal.png", dpi=150)
room = int(np.argmin(np.abs(thermal.temperature - 300.0)))
print(f"path {' '.join(bands.labels)}; lowest frequency on a mesh {exact.lowest_frequency(8):.4f} THz")
print(f"error by the size of the supercell {exact.range_error(6):.2f} THz (rms)")
print(
    f"heat capacity at 300 K: {thermal.heat_capacity[room]:.3f} ± {thermal.errors[2, room]:.3f} k_B per atom "
    f"(the magnons of tutorial 6 add theirs)"
)

# %% [markdown]
# ## 3. The modes at Γ
#
# Γ of the magnetic cell holds the modes of two wavevectors of cubic NiO: those in which both Ni move together (Γ of the
# cube) and those in which they move against each other (L). The eigenvectors tell them apart.
#
# In the cube the optical mode at Γ is threefold. The order leaves only the axis [111] special, so it splits: one mode
# along the axis, two across. Experiment (neutrons, infrared light) has them at about 12 THz, 9 %
# above ours; how much of that is the functional of the data (PBE+U) and how much the fit, this script cannot tell.

# %%


def optical_modes(result: PhononResult) -> tuple[float, float]:
    """Transverse optical frequencies of cubic Γ along and across [111], THz."""
    frequencies, vectors = result.modes((0, 0, 0))
    moves = vectors[0].real.reshape(4, 3, 12)  # atom, direction, mode
    nickel, oxygen = (moves[result.primitive.symbols == name] for name in ("Ni", "O"))
    together = sum(np.sum(pair.sum(axis=0) ** 2, axis=0) for pair in (nickel, oxygen)) / 2  # 1: equal atoms in step
    optical = (together > 0.5) & (frequencies[0] > 1.0)
    chosen, motion = frequencies[0, optical], oxygen[0][:, optical]
    along = (np.ones(3) / np.sqrt(3) @ motion) ** 2 / np.sum(motion**2, axis=0)
    return float(chosen[along > 0.5].mean()), float(chosen[along < 0.5].mean())


along, across = optical_modes(exact)
print(f"transverse optical modes: {along:.2f} THz along [111], {across:.2f} THz across; experiment about 12 THz")

# %% [markdown]
# The longitudinal mode at 17 THz is missing: it is lifted by the macroscopic electric field, which a potential of
# short range does not know. Born charges and the dielectric constant from elsewhere bring it back
# (`deepspin_plugins.phonons.with_born_charges`; [docs](../docs/phonons.md)).
#
# ## 4. Turned moments
#
# Now the same crystal with its sublattices turned towards each other: 180° is the antiferromagnet, 90° are right
# angles. The atoms stay where they are; symmetry keeps them at rest. The optical modes get softer: exchange over 180°
# bonds depends on positions, and how much of it acts depends on the angle.
#
# The data behind the model contain single moments up to 75° away from the order; here they turn by 45° at most.

# %%


def turned(angle: float) -> PhononResult:
    """Phonons with an angle between the two sublattices, degrees."""
    tilt = np.deg2rad(180.0 - angle) / 2
    canted = atoms.copy()
    set_moments(canted, np.cos(tilt) * order + np.sin(tilt) * np.abs(order[:, [0, 2, 1]]))  # both towards y
    return phonons(canted, atoms.calc, supercell=2, method="hessian", relax="none")


angles = np.array([180.0, 165.0, 150.0, 135.0, 120.0, 105.0, 90.0])
canted = [turned(angle) for angle in angles]
modes = np.array([optical_modes(result) for result in canted])
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
for column, name in enumerate(("along [111]", "across [111]")):
    left.plot(np.cos(np.deg2rad(angles)), modes[:, column] ** 2, "o-", label=name)
left.set(
    xlabel="cosine of the angle between sublattices", ylabel="squared frequency (THz²)", title="optical modes at Γ"
)
left.legend()
same_path = canted[0].path(spacing=0.04)
for index, style in ((0, "-"), (-1, "--")):
    canted[index].bands(same_path).plot(right, color=f"C{abs(index)}", linestyle=style, label=f"{angles[index]:.0f}°")
right.legend()
right.set_title("angle between sublattices")
figure.savefig(output / "07_spin_phonon.png", dpi=150)
softening = 1 - modes[-1] / modes[0]
print(
    f"from 180° to 90° the optical modes soften by {100 * softening[0]:.1f} % along, {100 * softening[1]:.1f} % across"
)
print(f"lowest frequency at 90°: {canted[-1].lowest_frequency(6):.4f} THz")

# %% [markdown]
# If energies were bilinear in the moments, the squares would be straight lines in the cosine. The bend is the part of
# the coupling beyond Heisenberg exchange.
#
# ## 5. Do the moments follow?
#
# So far the moments were frozen. `state="directions"` lets them turn to where no torque acts after every displacement,
# `state="relaxed"` lets their lengths follow, too. In a collinear magnet without spin-orbit coupling a displacement
# exerts no torque at all, to first order or any other: by symmetry all fields stay on the common line. So the
# directions do not move, and the phonons are the same. (Lengths would move, but this model has seen only one length:
# it cannot tell.)

# %%
moved = exact.supercell
moved.positions += np.random.default_rng(0).normal(0, 0.02, moved.positions.shape)
torque = np.abs(atoms.calc.get_magnetic_torques(moved)).max()
following = phonons(atoms, supercell=1, state="directions", relax="none")
frozen = phonons(atoms, supercell=1, relax="none")
difference = np.abs(following.frequencies((0, 0, 0)) - frozen.frequencies((0, 0, 0))).max()
print(f"largest torque of displaced atoms {torque:.1e} eV/rad; frequencies change by {difference:.1e} THz")

# %% [markdown]
# ## 6. Sound and elasticity
#
# The slopes of the acoustic branches and the stress of strained cells give the same elastic constants, if the supercell
# holds all forces and the model knows strained crystals. Here neither is so.
#
# The forces of this network reach 10 Å, and our cube has an edge of 8.4 Å. That is enough for the optical modes at Γ (a
# larger one changes them by less than 0.001 THz), but not for the slopes: in a cube of 512 atoms they come down to the
# numbers by stress, for instance C44 from 129 to 78 GPa.
#
# And `nio` was trained at one volume, without strain or stress. The bulk modulus comes out as next to nothing, where
# experiment has about 190 GPa: no frame says what a change of volume costs. So: optical phonons of this model are
# predictions, its compression is not.

# %%
sound, stress = exact.sound(), elastic_constants(atoms)
print(f"C44: {sound.stiffness[3, 3]:.0f} GPa by slopes, {stress.stiffness[3, 3]:.0f} GPa by stress")
print(f"bulk modulus: {sound.bulk_modulus:.0f} GPa by slopes, {stress.bulk_modulus:.0f} GPa by stress")
print(f"Debye temperature by slopes {sound.debye_temperature:.0f} K; misfit of the slopes {sound.misfit:.1f} GPa")

# %% [markdown]
# ## 7. On with phonopy
#
# `phonopy.yaml` holds structure, moments and force constants, and on the other routes displacements with their forces.
# `phonopy-load phonopy.yaml` and all of phonopy's commands carry on from here. It can be read back, and the moments are
# where they were.

# %%
exact.save(output / "07_phonopy.yaml")
back = PhononResult.load(output / "07_phonopy.yaml")
energy = [atoms.calc.get_potential_energy(result.supercell) for result in (exact, back)]
print(f"energy of the supercell before and after the file: {energy[0]:.6f} and {energy[1]:.6f} eV")
