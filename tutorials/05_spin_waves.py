# %% [markdown]
# # 5. Spin waves from a Heisenberg model
#
# From exchange constants to magnon bands, stiffness and neutron spectra, with four models whose answers are known in
# closed form or from the literature. No potential is needed; tutorial 6 does the same for one that was learned.
#
# 1. a ferromagnetic chain: the convention, and the factor of two between codes
# 2. the square-lattice antiferromagnet: bands, velocity, quantum fluctuations, S(q, ω)
# 3. what happens when the state is no minimum
# 4. bcc iron: a path, a density of states, and a stiffness from exchange that decays slowly
# 5. the honeycomb ferromagnet: Dirac magnons, and the gap that a DMI opens
#
# It takes well under a minute. Figures go to the directory in the environment variable `DEEPSPIN_TUTORIAL_OUTPUT`, or
# to `tutorial_output/`.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms
from ase.build import bulk

from deepspin_ase import HeisenbergModel
from deepspin_ase.heisenberg import dm_tensor
from deepspin_plugins.magnons import (
    SpinWaves,
    UnstableStateError,
    band_structure,
    density_of_states,
    magnon_thermodynamics,
    ordering_temperatures,
    q_path,
    spin_correlations,
    spin_wave_velocity,
    stiffness_tensor,
)

output = Path(os.environ.get("DEEPSPIN_TUTORIAL_OUTPUT", "tutorial_output"))
output.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## 1. A ferromagnetic chain
#
# The energy of the package is
#
#     E = −½ Σ_{i≠j} J_ij e_i·e_j,   e = m/|m|,   J > 0 ferromagnetic
#
# so J is "per bond, each bond once". A moment of |m| µB is a spin of length |m|/2, and one sublattice has
#
#     ħω(q) = (2/|m|) [J(0) − J(q)],   J(q) = Σ_j J_0j cos(q·R_j)
#
# For a chain that is (4J/|m|)(1 − cos qa). Two mistakes are common. Codes in the tradition of Liechtenstein (TB2J,
# UppASD) count both orders without the ½: their J is half of ours, and magnons come out at half the energy if nobody
# multiplies it by 2. And 2/|m| is not 1 unless the moment is 2 µB.
#
# q is in fractions of the reciprocal cell. For a chain there is no standard path, so we name the end point ourselves.

# %%
A = 2.5  # Å
J = 10.0  # meV
MOMENT = 1.6  # µB

chain = Atoms("Fe", cell=[A, 9.0, 9.0], pbc=[True, False, False])
chain_model = HeisenbergModel.from_shells(chain, [1e-3 * J], magnitudes=MOMENT)  # one J (eV) per shell
chain_waves = SpinWaves.from_model(chain_model, [1.0])  # the state: one moment along +z
chain_bands = band_structure(chain_waves, "GX", points={"X": (0.5, 0, 0)})

exact = 4 * J / MOMENT * (1 - np.cos(2 * np.pi * chain_bands.q[:, 0]))
chain_error = np.abs(chain_bands.energies[:, 0] - exact).max()
chain_stiffness = stiffness_tensor(chain_waves).tensor[0, 0]
print(f"chain: {chain_bands.at('X')[0]:.3f} meV at the zone boundary, closed form {8 * J / MOMENT:.3f}")
print(f"chain: stiffness {chain_stiffness:.3f} meV Å², closed form 2 J a²/|m| = {2 * J * A**2 / MOMENT:.3f}")

# %% [markdown]
# ## 2. The square-lattice antiferromagnet
#
# An antiferromagnet needs a cell that holds both directions: two sites, and vectors along the diagonals. `[1.0, -1.0]`
# are the moments along z. Shells are counted in neighbours, not in cells, so one negative J is all there is to say.
#
#     ħω(q) = (8|J|/|m|) √(1 − γ²),   γ = (cos q_x a + cos q_y a)/2
#
# twice, one mode for each sublattice. It is linear at Γ, so there is a velocity in place of a stiffness.

# %%
square = Atoms(
    "Fe2", cell=[[A, A, 0], [A, -A, 0], [0, 0, 12.0]], positions=[[0, 0, 0], [A, 0, 0]], pbc=[True, True, False]
)
square_model = HeisenbergModel.from_shells(square, [-1e-3 * J], magnitudes=1.0)  # spin 1/2
square_waves = SpinWaves.from_model(square_model, [1.0, -1.0])

corners = {"X": (0.5, 0.5, 0), "M": (1.0, 0, 0)}  # (π, 0) and (π, π), in the reciprocal cell of the diagonals
square_path = q_path(square, "GXMG", points=corners, spacing=0.01)
square_bands = band_structure(square_waves, square_path)

wave = square_path.q @ (2 * np.pi * np.linalg.inv(square.cell.array).T)  # 1/Å
gamma = np.cos(A * wave[:, :2]).mean(axis=1)
square_error = np.abs(square_bands.energies - 8 * J * np.sqrt(1 - gamma**2)[:, None]).max()
velocity = spin_wave_velocity(square_waves, "x")
print(f"square lattice: top {square_bands.energies.max():.3f} meV; velocity {velocity[0]:.2f} meV Å along x,")
print(f"closed form 8 |J| a/(√2 |m|) = {8 * J * A / np.sqrt(2):.2f}")

# %% [markdown]
# The Néel state is not an eigenstate: even at T = 0 each moment is shorter by 0.1966 spins, 0.393 µB. For spin ½ that
# is 39 % of the moment. The error bar compares the mesh with one of half as many points per direction; in a layer the
# error falls as 1/N, so it is just as large as that, and subtracting it gives the limit. At T > 0 an isotropic layer
# has no order at all, and the sum over magnons grows without end.

# %%
quantum = magnon_thermodynamics(square_waves, 0.0, mesh=64)
reduced, reduced_error = quantum.moments[0, 0], quantum.moments_error[0, 0]
print(f"ordered moment at T = 0: {reduced:.4f} ± {reduced_error:.4f} µB of 1 (exact 0.6068)")

# %% [markdown]
# What a neutron sees is S(q, ω). Γ and M = (π, π) are the same point for the energies. For the intensities they are
# not: at Γ the sublattices cancel, at M, the magnetic Bragg peak, the intensity diverges. The closed form is S(q) ∝
# √((1 − γ)/(1 + γ)).
#
# `intensity("total")` is the trace of the correlation tensor per mode; `"neutron"`, the default of the pictures,
# projects on the directions across Q, which is what an unpolarised beam measures. `ions={"Fe": 2}` would add the
# magnetic form factor, `temperature=` the Bose factor.

# %%
inside = np.abs(np.abs(gamma) - 1) > 1e-3  # away from Γ and M
square_correlations = spin_correlations(square_waves, square_path.q[inside])
intensity = square_correlations.intensity("total").sum(axis=1)  # ħ² per cell of two sites, S = 1/2
expected = np.sqrt((1 - gamma[inside]) / (1 + gamma[inside]))
intensity_error = np.abs(intensity / expected - 1).max()
print(f"intensity against √((1 − γ)/(1 + γ)): largest relative difference {intensity_error:.0e}")

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.7), layout="constrained")
chain_bands.plot(left)
left.plot(chain_bands.distance[::8], exact[::8], "ko", mfc="none", label="closed form")
left.set_title("ferromagnetic chain")
left.legend()
square_bands.plot(middle)
middle.set_title("square-lattice antiferromagnet")
spin_correlations(square_waves, square_path).spectrum(fwhm=4.0).plot(right, vmax=0.8)
right.set_title("the same: S(q, ω)")
figure.savefig(output / "05_chain_and_square.png", dpi=150)
plt.close(figure)

# %% [markdown]
# ## 3. A state that is no minimum
#
# Spin waves are oscillations about a minimum. Take the square lattice for a ferromagnet, and the package says which
# wavevector lowers the energy: here one at which neighbours turn against each other. (If the state is not even
# stationary, the message names the torque, and `relax_directions(model, moments)` turns the moments downhill.)

# %%
try:
    SpinWaves.from_model(square_model, [1.0, 1.0]).energies((0.5, 0.5, 0))
except UnstableStateError as error:
    unstable = str(error)
    print("*", unstable)

# %% [markdown]
# ## 4. bcc iron
#
# Exchange constants of iron from first principles, ten shells out to 2.5 lattice constants (M. Pajda et al., Phys. Rev.
# B 64, 174402). They are published in mRy and with both orders counted: times 13.6057 meV and times 2. The tenth shell
# holds two kinds of neighbours at the same distance; only those along ⟨111⟩ have the published J. A function of the
# bond vectors says so.
#
# Without a path, seekpath's for the magnetic cell is taken; here we choose one by the letters that it knows.

# %%
MILLIRYDBERG = 13.605693e-3  # eV
published = [1.432, 0.815, -0.016, -0.126, -0.146, 0.062, 0.001, 0.015, -0.032]  # mRy
shells = {number: 2 * MILLIRYDBERG * value for number, value in enumerate(published, start=1)}
shells[10] = lambda r: np.where(np.ptp(np.abs(r), axis=1) < 1e-3, 2 * MILLIRYDBERG * 0.187, 0.0)

iron_model = HeisenbergModel.from_shells(bulk("Fe", a=2.8665), shells, magnitudes=2.22)
iron = SpinWaves.from_model(iron_model, [1.0])
iron_bands = band_structure(iron, "GHNGPN")
iron_dos = density_of_states(iron, 28)
boundary = {point: float(iron_bands.at(point)[0]) for point in "HNP"}
temperatures = ordering_temperatures(iron_model, [1.0], mesh=16)
print("iron:", ", ".join(f"{point} {energy:.0f} meV" for point, energy in boundary.items()), "(488, 384, 444)")
print(
    f"iron: mean field {temperatures.mean_field:.0f} K (1415), "
    f"RPA {temperatures.rpa:.0f} ± {temperatures.rpa_error:.0f} K; measured 1043 K"
)

# %% [markdown]
# The stiffness, ħω = D q², weights shells with r², and in a metal J falls so slowly that the sum does not converge:
# leave out the last shell, and D is another. Pajda and others multiply J by e^{−ηr} and extrapolate to η = 0. Both
# come with an error bar that says what it is worth.

# %%
plain = stiffness_tensor(iron)
damped = stiffness_tensor(iron, damping=np.linspace(0.1, 0.6, 8))
print(f"D without damping {plain.mean:.0f} ± {plain.mean_error:.0f} meV Å² (error: the last shell)")
print(f"D with damping    {damped.mean:.0f} ± {damped.mean_error:.0f} meV Å² (measured: 280 to 330)")

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.7), layout="constrained", width_ratios=[2, 1, 1.3])
iron_bands.plot(left)
left.set_title("bcc iron")
middle.plot(iron_dos.density, iron_dos.energy)
middle.set(xlabel="states per meV and cell", ylabel="magnon energy (meV)", ylim=left.get_ylim(), xlim=(0, None))
middle.set_title("density of states")
damped.plot(right)
right.set_title("stiffness")
figure.savefig(output / "05_iron.png", dpi=150)
plt.close(figure)

# %% [markdown]
# In nature the upper part of these bands decays into electron-hole pairs (Stoner excitations) and is hardly seen above
# some 100 meV; no spin model knows that.
#
# ## 5. Honeycomb: Dirac magnons and a gap
#
# Layers like CrI3 have two sites per cell. With one J the bands ħω = (2J/|m|)(3 ± |f(q)|) touch at K, as those of
# graphene do. A Dzyaloshinskii–Moriya interaction between second neighbours, E = −½ Σ D_ij·(e_i × e_j) along the
# normal and of opposite sign on the two sublattices, opens a gap of 12√3 |D|/|m| there. The magnons then carry a Berry
# curvature, and edges of the layer carry chiral modes.
#
# `from_shells` makes the first neighbours. DMI depends on the direction of a bond, so those bonds are listed, each
# once: `(i, j, image, tensor)` with the cell in which j lies, and `dm_tensor(D)` for the antisymmetric tensor.

# %%
J_SPIN, DMI_SPIN, SPIN = 2.01, 0.31, 1.5  # meV, of S·S; chromium has S = 3/2, 3 µB
J1, DMI = J_SPIN * SPIN**2, DMI_SPIN * SPIN**2  # of unit vectors
layer = Atoms(
    "Cr2",
    cell=[[6.9, 0, 0], [-6.9 / 2, 6.9 * np.sqrt(3) / 2, 0], [0, 0, 20]],
    scaled_positions=[[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]],
    pbc=[True, True, False],
)


def honeycomb(d: float) -> SpinWaves:
    """Spin waves of the ferromagnetic layer with J1 and a second-neighbour DMI d, both in meV."""
    nearest = HeisenbergModel.from_shells(layer, [1e-3 * J1], magnitudes=2 * SPIN).bonds
    once = nearest.i < nearest.j
    bonds = list(zip(nearest.i[once], nearest.j[once], nearest.image[once], nearest.tensor[once], strict=True))
    for image in ((1, 0, 0), (0, 1, 0), (-1, -1, 0)):  # round the hexagon
        bonds += [(0, 0, image, dm_tensor([0, 0, 1e-3 * d])), (1, 1, image, dm_tensor([0, 0, -1e-3 * d]))]
    return SpinWaves.from_model(HeisenbergModel.from_bonds(layer, bonds, magnitudes=2 * SPIN), [1.0, 1.0])


layer_path = q_path(layer, "GKMG", points={"K": (1 / 3, 1 / 3, 0), "M": (0.5, 0, 0)}, spacing=0.01)
crossing, gapped = (band_structure(honeycomb(d), layer_path) for d in (0.0, DMI))
gap = float(np.ptp(gapped.at("K")))
print(f"honeycomb: {crossing.at('Γ').round(4)} meV at Γ, {crossing.at('K')} at K")
print(f"with DMI: {gapped.at('K').round(5)} meV at K, gap {gap:.4f}, closed form {12 * np.sqrt(3) * DMI / 3:.4f}")

# %% [markdown]
# S(q, ω) tells the two bands apart. Near Γ all spins turn together, and only the lower band is seen; in the second
# Brillouin zone the upper band is. So we continue the path to the reciprocal vector (1, 0, 0), which is Γ for energies,
# but not for intensities. The resolution is given as a full width at half maximum; form factors damp what lies far
# out.

# %%
long_path = q_path(
    layer, [[("Γ", (0, 0, 0)), ("K", (1 / 3, 1 / 3, 0)), ("M", (0.5, 0, 0)), ("Γ′", (1, 0, 0))]], spacing=0.005
)
found = spin_correlations(honeycomb(DMI), long_path, ions={"Cr": 3})

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.9), layout="constrained")
crossing.plot(left, color="0.5", linestyle="--")
gapped.plot(left)
left.set_title("honeycomb ferromagnet: J (dashed), J and DMI")
found.spectrum(np.linspace(0.0, 20.0, 300), fwhm=0.8).plot(right)
right.set_title("neutrons: S(q, ω)")
figure.savefig(output / "05_honeycomb.png", dpi=150)
plt.close(figure)

# %% [markdown]
# From here: `SpiralWaves` for spirals of any pitch, `powder_average` for powders, `trajectory_spectrum` for S(q, ω)
# from spin dynamics at any temperature, all in `docs/magnons.md`. `deepspin magnons FILE --spin-model MODEL` does the
# usual things on the command line. Tutorial 6 takes exchange and magnons from a learned potential.
#
# These numbers a run of the script must reach; the package's tests hold it to them.

# %%
assert chain_error < 1e-8
assert abs(chain_stiffness - 2 * J * A**2 / MOMENT) < 1e-3
assert square_error < 1e-5
assert abs(velocity[0] - 8 * J * A / np.sqrt(2)) < 0.01
assert abs(reduced - reduced_error - 0.6068) < 5e-4
assert intensity_error < 1e-6
assert "lowered by a spin wave" in unstable
assert all(abs(boundary[point] - energy) < 1.0 for point, energy in {"H": 488, "N": 384, "P": 444}.items())
assert abs(temperatures.mean_field - 1415) < 3
assert plain.mean_error > damped.mean_error
assert 200 < damped.mean < 350
assert np.ptp(crossing.at("K")) < 1e-8
assert abs(gap - 12 * np.sqrt(3) * DMI / 3) < 1e-8
