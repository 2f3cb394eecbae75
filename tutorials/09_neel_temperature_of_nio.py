# %% [markdown]
# # 9. The Néel temperature of NiO, from a learned potential
#
# At which temperature does NiO lose its antiferromagnetic order? Experiment: 523 K. The shipped model `nio` knows
# energies of moments in any direction, so it should know, and there are three ways to ask:
#
# 1. **exchange route**: take exchange constants out of the model, and put them into a fast Monte Carlo
# 2. **direct route**: sample the model itself with Hamiltonian Monte Carlo; nothing is made bilinear or cut off
# 3. **semi-direct route**: take the exchange constants out of a crystal whose atoms vibrate
# 4. what all of them leave out: spins are quantum, and the rest of the way to 523 K
#
# It takes about a minute. Figures and files go to the directory in the environment variable
# `DEEPSPIN_TUTORIAL_OUTPUT`, or to `tutorial_output/`.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase.build import bulk, make_supercell

from deepspin_ase import DeepSpin, collinear_order, set_moments
from deepspin_ase.statistics import mean_with_error
from deepspin_plugins.curie import MonteCarlo, find_order, ordering_temperature, sample_potential
from deepspin_plugins.curie.semi_direct import thermal_exchange
from deepspin_plugins.exchange import exchange_tensors

output = Path(os.environ.get("DEEPSPIN_TUTORIAL_OUTPUT", "tutorial_output"))
output.mkdir(parents=True, exist_ok=True)

EXPERIMENT = 523.0  # K

# %% [markdown]
# ## 1. The exchange route
#
# As in tutorial 6: the antiferromagnet in its smallest cell, and the second derivatives of the energy there.

# %%
primitive = bulk("NiO", "rocksalt", a=4.186)
Q = (0.5, 0.5, 0.5)


def magnetic_supercell(matrix: list[list[int]]):
    """A supercell of rock salt that carries the antiferromagnetic order."""
    atoms = make_supercell(primitive, matrix)
    set_moments(atoms, collinear_order(atoms, {"Ni": 1.2737, "O": 0.0}, q=Q, cell=primitive.cell.array))
    return atoms


cell = magnetic_supercell([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
cell.calc = DeepSpin("nio", dtype="float32")
exchange = exchange_tensors(cell, DeepSpin("nio"), cutoff=4.3, symmetrise=True)
print(exchange.table())
model = exchange.to_model()

# %% [markdown]
# `ordering_temperature` does the rest: it finds the order from J(q) (four wave vectors of equal right, one for each
# body diagonal of the cube: its four "arms"), scans for the transition, and compares three sizes there. Accuracy and
# number of sweeps are set low to be quick; `docs/curie.md` has the figures of longer runs. Mean field is an
# upper bound.

# %%
result = ordering_temperature(model, sizes=(4, 6, 8), accuracy=0.02, sweeps=1500)
print(result.summary())

# %% [markdown]
# ## 2. The direct route
#
# `sample_potential` moves all moments at once along a trajectory on their spheres, driven by the magnetic forces of
# the model, and accepts the end with the Boltzmann factor of its energy error: the distribution is exact, whatever
# the step. All temperatures go through the network in one batch.
#
# This costs thousands of evaluations, so the crystal is small, 16 Ni. The fair comparison is with the exchange model in
# a crystal of the same size: where they differ, energies are not bilinear in the moments.

# %%
small = magnetic_supercell([[0, 2, 2], [2, 0, 2], [2, 2, 0]])
small.calc = cell.calc
where = model.match(small)
order = find_order(model)
kelvin = [190.0, 300.0]
where = model.match(small)
direct = sample_potential(
    small, kelvin, weights=order.weights_at(where.site, where.offset), equilibration=60, sweeps=150, seed=1
)
print(direct.table())

same_size = MonteCarlo(model, (2, 2, 2), kelvin, weights=order.weights, wave_vectors=order.wave_vectors, seed=1)
same_size.thermalize(500)
spins = order.magnitude(same_size.run(5000)).mean(axis=1)
own = [mean_with_error(series) for series in order.magnitude(direct)]
for temperature, mean, classical in zip(kelvin, own, spins, strict=True):
    print(f"{temperature:.0f} K, 16 Ni: order {mean.value:.3f} ± {mean.error:.3f} direct, {classical:.3f} by exchange")

# %% [markdown]
# ## 3. The semi-direct route
#
# Atoms vibrate, and exchange follows them. `thermal_exchange` samples positions and moments, differentiates the
# model at snapshots, and averages. The crystal is at 100 K here, and there is a reason: the data behind `nio` have
# displacements of 0.01 Å, and even at 100 K the atoms go four times as far. In longer and hotter runs this potential
# has deep holes that pull the crystal apart (the energies of `sample_potential(..., lattice=True)` and
# `warm.displacements` show it at once). A model for hot crystals has to be trained on hot crystals.

# %%
warm = thermal_exchange(cell, 100.0, cutoff=4.2, snapshots=3, interval=4, equilibration=40, seed=1)
print(warm.table())
at_rest, vibrating = (find_order(m).mean_field for m in (warm.static_model(), warm.to_model()))
stronger = vibrating / at_rest - 1
print(f"vibrations change the mean-field temperature by {100 * stronger:+.1f} %")

# %% [markdown]
# On the average, superexchange is a little *stronger* in the vibrating crystal than at rest, probably because it falls
# so steeply with the distance that short bonds win more than long ones lose.
#
# ## 4. The rest of the way to 523 K
#
# All routes say about 270 K, half of what is measured. The reason is not the potential: Monte Carlo takes spins
# for classical arrows, whose energy is J S² with S = 1, while quantum spins have J S(S + 1). That is a factor
# (S + 1)/S = 2 for Ni²⁺. `result.spin_corrected(1)` applies it (never by itself).

# %%
corrected, corrected_error = result.spin_corrected(1)
print(f"classical spins {result.tc:.0f} ± {result.tc_error:.0f} K")
print(f"times (S + 1)/S for S = 1: {corrected:.0f} ± {corrected_error:.0f} K; experiment {EXPERIMENT:.0f} K")

# %% [markdown]
# Do not read too much into a deviation of three per cent. The factor comes from mean field; series expansions of
# quantum spins put T_N a few per cent lower. And the J2 of this model, 16.4 meV, is 14 % below that of neutrons
# (tutorial 6), with which the same road would end near 630 K. Two errors of opposite sign happen to cancel.
#
# Longer runs of the same functions (`docs/curie.md`) gave 273.0 ± 1.3 K by the exchange route. The direct route, in
# 16, 32 and 64 Ni, has the order of the exchange model at temperatures that are 2 to 4 % lower: T_N is 265 ± 4 K, or
# 530 ± 8 K times (S + 1)/S. That is what a bilinear model leaves out.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", width_ratios=[3, 2])
result.plot(left)
left.errorbar(
    kelvin, [m.value for m in own], [m.error for m in own], fmt="ks", mfc="none", capsize=3, label="direct, 16 Ni"
)
left.plot(kelvin, spins, "kx", label="exchange, 16 Ni")
left.legend(fontsize=8)
left.set_title("order parameter of NiO")
names = ["mean field", "RPA", "Monte Carlo", "times (S + 1)/S", "experiment"]
values = [result.mean_field, result.rpa, result.tc, corrected, EXPERIMENT]
right.barh(names, values, color=["0.7", "0.7", "C0", "C2", "C3"])
right.bar_label(right.containers[0], [f"{value:.0f} K" for value in values], padding=3)
right.set_xlim(0, 1.2 * max(values))
right.set_xlabel("Néel temperature (K)")
right.invert_yaxis()
figure.savefig(output / "09_neel_temperature.png", dpi=150)
plt.close(figure)
result.save(output / "09_neel_temperature.npz")

# %% [markdown]
# On the command line, with the magnetic cell in a file:
#
#     deepspin curie nio.extxyz --model nio
#     deepspin curie nio.extxyz --model nio --direct
#
# These numbers a run of the script must reach; the package's tests hold it to them.

# %%
assert abs(result.tc - 271) < 20
assert result.tc < result.mean_field
assert abs(corrected - EXPERIMENT) < 0.15 * EXPERIMENT
assert np.all(direct.acceptance > 0.6)
assert all(abs(m.value - c) < 0.05 for m, c in zip(own, spins, strict=True))
assert own[1].value < own[0].value
assert 0.0 < stronger < 0.06
assert warm.displacements.max() < 0.1
