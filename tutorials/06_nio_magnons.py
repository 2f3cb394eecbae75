# %% [markdown]
# # 6. NiO: exchange, magnons and neutrons from a learned potential
#
# The shipped model `nio` was trained on energies, forces and magnetic forces of constrained density-functional theory.
# No label contains an exchange constant or a magnon. This script takes both out of it, by exact second derivatives, and
# holds them against neutron scattering:
#
# 1. the antiferromagnet, in its smallest cell
# 2. exchange constants J1 and J2, and whether they have converged
# 3. magnon bands by two routes: through exchange constants, and straight from the spin Hessian
# 4. against neutrons: top, slope, and the factor 2/|m|
# 5. how the neutron numbers and ours hang together
# 6. S(q, ω) of a single crystal and of a powder
# 7. what only a potential gives: magnons of a crystal with displaced atoms
#
# It takes well under a minute. Figures and files go to the directory in the environment variable
# `DEEPSPIN_TUTORIAL_OUTPUT`, or to `tutorial_output/`.

# %%
import os
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase.build import bulk, make_supercell

from deepspin_ase import DeepSpin, HeisenbergModel, collinear_order, get_moments, set_moments
from deepspin_plugins.exchange import exchange_tensors
from deepspin_plugins.magnons import (
    SpinWaves,
    band_structure,
    powder_average,
    q_path,
    spin_correlations,
    spin_wave_velocity,
    spin_waves_from_potential,
)

output = Path(os.environ.get("DEEPSPIN_TUTORIAL_OUTPUT", "tutorial_output"))
output.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## 1. The antiferromagnet
#
# Ferromagnetic (111) sheets of alternating direction, in the magnetic primitive cell of four atoms. The lattice
# constant and the length of the moments are those of the data behind the model.

# %%
LATTICE_CONSTANT = 4.186  # Å
MOMENT = 1.2737  # µB on Ni

primitive = bulk("NiO", "rocksalt", a=LATTICE_CONSTANT)
atoms = make_supercell(primitive, [[0, 1, 1], [1, 0, 1], [1, 1, 0]])
order = collinear_order(atoms, {"Ni": MOMENT, "O": 0.0}, q=(0.5, 0.5, 0.5), cell=primitive.cell.array)
set_moments(atoms, order)
atoms.calc = DeepSpin("nio")
print(f"{atoms.get_chemical_formula()}: moments along z {order[:, 2]} µB")

# %% [markdown]
# ## 2. Exchange constants
#
# `exchange_tensors` differentiates the energy twice with respect to the moments, in a supercell that holds the cutoff,
# and turns H_ij = ∂²E/∂m_i∂m_j into J_ij = −|m_i||m_j| H_ij, of the energy E = −½ Σ_{i≠j} e_i·J_ij·e_j (unit vectors,
# each bond once, J > 0 ferromagnetic).
#
# The table has one line per shell of neighbours. Derivatives are exact, so two errors remain: what the cutoff leaves
# out (last line of the table), and interactions with images of the supercell, which a smaller one shows.

# %%
exchange = exchange_tensors(atoms, cutoff=6.0)
print(exchange.table())
j1, j2 = (1e3 * shell.exchange for shell in exchange.shells()[:2])
small = exchange_tensors(atoms, cutoff=4.3)
folding = max(abs(a.exchange - b.exchange) for a, b in zip(exchange.shells(), small.shells(), strict=False))
print(f"J1 = {j1:+.2f} meV, J2 = {j2:+.2f} meV; largest difference to a smaller supercell {1e3 * folding:.2f} meV")

# %% [markdown]
# J2, of two Ni on either side of an oxygen, is the strong antiferromagnetic superexchange of the textbooks, and J1
# is weakly ferromagnetic. Both come from a model that has never seen an exchange constant.
#
# ## 3. Magnon bands, twice
#
# Route one makes a `HeisenbergModel` of the tensors. Route two keeps the whole spin Hessian with the curvature of the
# sphere (F^m·m on the diagonal) and interpolates it to any q; nothing is cut off or made bilinear. Where they differ
# is the error of the model in between.

# %%
spin_model = exchange.to_model()
waves = SpinWaves.from_model(spin_model, order, tolerance=1e-4)
direct = spin_waves_from_potential(atoms, cutoff=6.0)

path = q_path(atoms)  # that of seekpath for the magnetic cell, which is rhombohedral
bands = band_structure(waves, path)
direct_bands = band_structure(direct, path)
routes = np.abs(bands.energies - direct_bands.energies).max()
top = bands.energies.max()
slope = spin_wave_velocity(waves, "x")[0]
print(
    f"top {top:.1f} meV, slope {slope:.0f} meV Å along a cubic axis; the two routes differ by {routes:.2f} meV at most"
)

# %% [markdown]
# The bands are twofold degenerate, one mode for each sublattice, and linear at Γ. They come down to zero once more, at
# F. That is no Bragg peak of this order, but the wavevector of another domain of it: bonds of J2 join the Ni to four
# simple cubic lattices which turn freely against each other, as the exchange fields of one on another cancel. Tutorial
# 1 has met the same eight soft rotations.
#
# ## 4. Against neutrons
#
# M. T. Hutchings and E. J. Samuelsen (Phys. Rev. B 6, 3447, 1972) found a top of about 117 meV and a slope of about 250
# meV Å. The model has 35 and 45 % more. But look at what goes into a magnon energy besides exchange:
#
#     ħω = (2/|m|) × (exchange of unit vectors)
#
# A magnon is one spin flip, 2 µB, shared by all moments: the same exchange moves a shorter moment faster. The 1.27 µB
# of the data are what the constraint measures inside a sphere round the nucleus. Ni²⁺ has S = 1, that is 2 µB, and
# what turns in the crystal is that, including the part outside the sphere and on the oxygen. The constants J
# themselves are energies of directions and need no such correction. So for a comparison give the sites their full
# moments, with `dataclasses.replace`; all energies scale by 1.27/2.

# %%
IONIC = 2.0  # µB, S = 1
NEUTRON_TOP, NEUTRON_SLOPE = 117.0, 250.0  # meV, meV Å
NEUTRON_J1, NEUTRON_J2 = 1.37, -19.01  # meV, of unit vectors in our sign; S = 1

ionic_model = replace(spin_model, magnitudes=np.where(spin_model.magnitudes > 0, IONIC, 0.0))
ionic = SpinWaves.from_model(ionic_model, order, tolerance=1e-4)
ionic_bands = band_structure(ionic, path)
ionic_top, ionic_slope = ionic_bands.energies.max(), spin_wave_velocity(ionic, "x")[0]

print("                          J1 (meV)  J2 (meV)  top (meV)  slope (meV Å)")
print(f"model, |m| = {MOMENT:.2f} µB      {j1:8.2f}  {j2:8.2f}  {top:9.0f}  {slope:13.0f}")
print(f"model, |m| = {IONIC:.2f} µB      {j1:8.2f}  {j2:8.2f}  {ionic_top:9.0f}  {ionic_slope:13.0f}")
print(f"neutrons                  {NEUTRON_J1:8.2f}  {NEUTRON_J2:8.2f}  {NEUTRON_TOP:9.0f}  {NEUTRON_SLOPE:13.0f}")

# %% [markdown]
# With the spin of the ion the model is 14 % low at the top and 8 % low in the slope. That is J2: 16.4 instead of 19.0
# meV. Two reasons can be named. Superexchange goes as t²/U, so it is as good as the U of PBE+U (5.3 eV here). And the
# published labels of the model contradict each other: magnetic forces of constrained DFT in these data belong to a J2
# of about 15 meV, their energies to one of 19 to 20, and a potential, which has one energy, lands in between
# (`docs/exchange.md`). J1 is small next to that contradiction; its sign and a size of about 1 meV are all that can be
# said.
#
# ## 5. How these numbers hang together
#
# The literature writes E = Σ_pairs J S_i·S_j with J2 = +19.01 and J1 = −1.37 meV for S = 1. Our J has the opposite sign
# and is that of unit vectors, J = −J_lit S². Put the neutron constants into the same machinery, and the neutron bands
# must come out. This catches every factor of two between fits, codes and potentials.

# %%
nickel = atoms[atoms.numbers == 28]  # ASE's slices carry moments along
neutron_model = HeisenbergModel.from_shells(nickel, [1e-3 * NEUTRON_J1, 1e-3 * NEUTRON_J2], magnitudes=IONIC)
neutron = SpinWaves.from_model(neutron_model, get_moments(nickel))
neutron_bands = band_structure(neutron, path)
neutron_top, neutron_slope = neutron_bands.energies.max(), spin_wave_velocity(neutron, "x")[0]
print(f"neutron constants: top {neutron_top:.0f} meV, slope {neutron_slope:.0f} meV Å")

# 6 J2 and the velocity of a simple cubic antiferromagnet with lattice constant a: J2 alone
estimate = 2 / IONIC * 6 * abs(NEUTRON_J2)
print(f"J2 alone: 12 |J2|/|m| = {estimate:.0f} meV and {estimate * LATTICE_CONSTANT / np.sqrt(3):.0f} meV Å")

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.0), layout="constrained", width_ratios=[1, 2])
exchange.plot(left)
left.plot(exchange.distances.min() * np.array([1, np.sqrt(2)]), [NEUTRON_J1, NEUTRON_J2], "C3x", label="neutrons")
left.set_title("exchange of the model")
left.legend()
styles = {
    f"model, {MOMENT:.2f} µB": (bands, "C0", "-"),
    f"model, {IONIC:g} µB": (ionic_bands, "C0", "--"),
    "J1, J2 of neutrons": (neutron_bands, "C3", "-"),
}
for label, (result, colour, line) in styles.items():
    result.plot(right, color=colour, linestyle=line)
    right.plot([], [], color=colour, linestyle=line, label=label)
right.set_ylim(0, 1.25 * top)
right.set_title("magnons of NiO")
right.legend(loc="upper center", ncols=3, fontsize=9)
figure.savefig(output / "06_exchange_and_bands.png", dpi=150)
plt.close(figure)

# %% [markdown]
# ## 6. S(q, ω)
#
# Energies at q and at q + G are equal, intensities are not. In units of 2π/a we follow the cube diagonal from (000)
# through the magnetic Bragg peak (½½½) to the nuclear one (111), and another way back. All three are zeros of the
# energy, but only at the magnetic peak is there intensity: this is how neutrons find antiferromagnets. `ions={"Ni": 2}`
# is the magnetic form factor, `fwhm` the resolution in meV; `temperature=` would add Bose factors.
#
# A powder averages over all directions of Q. It still shows the top of the band as an edge, and where in |Q| the
# magnetic peaks are: the usual first look at a new material. Its `error` compares with half as many directions.


# %%
def fractions(*points: tuple[float, float, float]) -> list[np.ndarray]:
    """Wavevectors in units of 2π/a along cubic axes -> fractions of the reciprocal magnetic cell."""
    return [atoms.cell.array @ np.array(point) / LATTICE_CONSTANT for point in points]


names = ["(000)", "(½½½)", "(111)", "(1½½)", "(100)"]
stations = fractions((0, 0, 0), (0.5, 0.5, 0.5), (1, 1, 1), (1, 0.5, 0.5), (1, 0, 0))
crystal_path = q_path(atoms, [list(zip(names, stations, strict=True))], spacing=0.01)
crystal = spin_correlations(ionic, crystal_path, ions={"Ni": 2})
powder = powder_average(ionic, np.linspace(0.3, 3.5, 80), fwhm=6.0, directions=600, ions={"Ni": 2})

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.0), layout="constrained")
crystal.spectrum(np.linspace(0, 115, 300), fwhm=4.0).plot(left, vmax=0.25)
left.set_title("single crystal")
powder.plot(right)
right.set_title("powder")
figure.savefig(output / "06_spectra.png", dpi=150)
plt.close(figure)

bragg, nuclear = (spin_correlations(ionic, fractions((h + 0.02, h, h))[0]).intensity("total").sum() for h in (0.5, 1.0))
print(f"intensity next to the magnetic Bragg peak (½½½) {bragg:.1f}, next to the nuclear one (111) {nuclear:.3f}")

# %% [markdown]
# ## 7. Magnons of a displaced lattice
#
# A list of J's belongs to one structure. A potential knows how exchange moves with the atoms: displace them, and ask
# again. Here the two oxygens move by 0.01 Å in opposite directions, the amplitude that the data of the model contain.

# %%
shifted = atoms.copy()
shifted.calc = atoms.calc
shifted.positions[shifted.numbers == 8] += [[0.01, 0.0, 0.0], [-0.01, 0.0, 0.0]]
points = path.q[::10]
change = spin_waves_from_potential(shifted, cutoff=6.0).energies(points) - direct.energies(points)
print(f"oxygens displaced by 0.01 Å: magnons shift by {change.min():+.2f} to {change.max():+.2f} meV")

bands.save(output / "06_bands.npz")
spin_model.save(output / "06_exchange_model.npz")

# %% [markdown]
# On the command line, with the magnetic cell in a file:
#
#     deepspin exchange nio.extxyz --model nio --cutoff 6 --converge
#     deepspin magnons nio.extxyz --model nio --exchange --ions Ni=2
#
# The saved model drives spin dynamics and Monte Carlo, or goes to other codes (`docs/exchange.md`). `hybrid_waves`
# couples these magnons to the phonons of the same model (`docs/magnons.md`).
#
# These numbers a run of the script must reach; the package's tests hold it to them.

# %%
assert 0 < j1 < 2.5
assert -22 < j2 < -13
assert 1e3 * folding < 0.5
assert 1e3 * exchange.beyond < 0.1
assert routes < 0.02 * top
assert abs(ionic_top / top - MOMENT / IONIC) < 1e-4
assert abs(ionic_top - NEUTRON_TOP) < 0.25 * NEUTRON_TOP
assert abs(ionic_slope - NEUTRON_SLOPE) < 0.25 * NEUTRON_SLOPE
assert abs(neutron_top - NEUTRON_TOP) < 4
assert abs(neutron_slope - NEUTRON_SLOPE) < 20
assert bragg > 100 * nuclear
assert 0 < np.abs(change).max() < 0.1 * top
