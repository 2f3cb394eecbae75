# %% [markdown]
# # 11. Bcc iron from first principles
#
# Tutorial 10 played it through with a calculator for which the truth is known. Here the labels come from ABINIT, and
# the result is the model `fe-bcc` of this package. The calculations are recorded, so the script needs no ABINIT; every
# step says which command made what is shown.
#
# 1. one label: what goes into ABINIT and what comes out
# 2. is the magnetic force the derivative of the energy?
# 3. the data set
# 4. frames that the committee asked for
# 5. the model beside direct calculations that it has not seen: volume, length of the moments, spin spirals
# 6. exchange, magnons and the Curie temperature, and what stands between them and the experiment
#
# The script takes about two minutes on one core. Figures go to the directory in the environment variable
# `DEEPSPIN_TUTORIAL_OUTPUT`, or to `tutorial_output/`.

# %%
import os
from collections import Counter
from fractions import Fraction
from pathlib import Path
from runpy import run_path

import matplotlib.pyplot as plt
import numpy as np
from ase.units import Rydberg

from deepspin_ase import DeepSpin, get_moments, read_frames
from deepspin_plugins.curie import ordering_temperature
from deepspin_plugins.exchange import exchange_tensors
from deepspin_plugins.magnons import SpinWaves, stiffness_tensor

output = Path(os.environ.get("DEEPSPIN_TUTORIAL_OUTPUT", "tutorial_output"))
output.mkdir(parents=True, exist_ok=True)
here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
data = here.parent / "data" / "fe_bcc"

# %% [markdown]
# ## 1. One label
#
# `deepspin label structures.extxyz` (or `AbinitLabeler` in Python) writes the input, runs ABINIT, tries again in two
# other ways if the self-consistency fails, and checks what came out. The moments of a structure are the target of the
# constraint: `spinat`, with `constraint_kind 1` for direction and length. `pawxcdev 0` keeps the magnetic force a
# derivative of the energy; the default of ABINIT loses some per cent there.

# %%
text = (data / "recorded" / "turned_middle.abi").read_text(encoding="utf-8")
shown = ("nspden", "constraint_kind", "magcon_lambda", "ratsph", "pawxcdev")
print("\n".join(line for line in text.splitlines() if line.startswith(shown)))

# %% [markdown]
# The output is a format like others (`deepspin convert run.abo frame.extxyz`):

# %%
turned = [read_frames(data / "recorded" / f"turned_{name}.abo.gz")[0] for name in ("minus", "middle", "plus")]
minus, middle, plus = turned
print("moments (µB):", np.round(middle.moments, 3).tolist())
print("magnetic forces (eV/µB):", np.round(middle.labels.magnetic_forces, 4).tolist())
print(f"{middle.info['code']}, {middle.info['scf_steps']} steps to self-consistency")

# %% [markdown]
# ## 2. Is it a derivative?
#
# The first moment was turned by ± 0.05 µB in the plane of the two moments. The energy difference must be the integral
# of the transverse magnetic force; Simpson's rule over the three labels is good to fourth order. What counts is the
# angle between the moments: without spin-orbit coupling all of them may be turned together, and the labeler does so.
# `docs/labelers.md` has the same for lengths, forces and stress, in three states (`benchmarks/labels_of_abinit.py`).

# %%
direction = np.array([np.arctan2(frame.moments[:, 0], frame.moments[:, 2]) for frame in turned])  # in the xz plane
angle = direction[:, 0] - direction[:, 1]
length = np.linalg.norm(middle.moments[0])
along = [f.labels.magnetic_forces[0] @ (np.cos(a), 0, -np.sin(a)) for f, a in zip(turned, direction[:, 0], strict=True)]
step = length * (angle[2] - angle[0])  # µB
numeric = -(plus.labels.energy - minus.labels.energy) / step
analytic = (along[0] + 4 * along[1] + along[2]) / 6
print(f"F⊥ from energies {1e3 * numeric:.2f} meV/µB, from labels {1e3 * analytic:.2f} meV/µB")
assert abs(numeric - analytic) < 0.005 * abs(numeric)

# %% [markdown]
# ## 3. The data set
#
# `data/fe_bcc/make_frames.py` plans structures from a seed: cells of one to four atoms of all shapes, strained, with
# displaced atoms and moments in ferromagnetic, reversed, tilted, spiral and random order, of varied length. Small cells
# are cheap, and with all their shapes they hold many wave vectors. `data/fe_bcc/README.md` is the card.

# %%
frames = read_frames(data / "frames.extxyz.gz")
energy = np.array([frame.labels.energy / len(frame.atoms) for frame in frames])
energy -= energy.min()
order = np.array([str(frame.info["order"]) for frame in frames])
volume = np.array([frame.atoms.cell.volume / len(frame.atoms) for frame in frames])
print(f"{len(frames)} frames:", dict(Counter(order.tolist())))

figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for kind in sorted(set(order)):
    axes[0].plot(np.cbrt(2 * volume[order == kind]), 1e3 * energy[order == kind], "o", ms=4, label=kind)
torque = np.concatenate([np.cross(f.moments, f.labels.magnetic_forces) for f in frames if len(f.atoms) > 1])
axes[0].set(xlabel="(2 V)$^{1/3}$ (Å)", ylabel="energy above the lowest (meV/atom)")
axes[0].legend()
axes[1].hist(1e3 * np.linalg.norm(torque, axis=1), bins=30)
axes[1].set(xlabel="|torque| (meV/rad)", ylabel="atoms")
figure.savefig(output / "11_data.png", dpi=150)
plt.close(figure)

# %% [markdown]
# ## 4. Frames that the committee asked for
#
# `deepspin learn data/fe_bcc/learn.yaml` began with the frames that there were at the time: three models, moment
# states and spin-lattice dynamics of two cells of two atoms, and labels from ABINIT where the models disagreed most.
# This is the report that it left. The trust levels were automatic and came out below the noise of the labels (5 meV/µB
# from k-points), which is why so few structures counted as accurate: for first-principles labels, give them as numbers.

# %%
print((data / "recorded" / "learning.md").read_text(encoding="utf-8"))
asked = [frame for frame in frames if frame.info["order"] == "learned"]
for frame in asked:
    first, second = frame.moments
    angle = np.degrees(np.arccos(first @ second / np.linalg.norm(first) / np.linalg.norm(second)))
    deviation = np.linalg.norm(frame.labels.forces, axis=1).max()
    print(f"{frame.info['explorer']:12s} angle {angle:4.0f}°, largest force {deviation:.1f} eV/Å")

# %% [markdown]
# ## 5. The model beside direct calculations
#
# `fe-bcc` was trained with `deepspin train` on these frames (its card says how). `data/fe_bcc/validate.py` made direct
# points that are not among them: perfect crystals at seven volumes, moments of eight lengths, flat spin spirals
# along Γ–H and Γ–N, and cones: moments at 10° and 20° from an axis, neighbours on opposite sides. The ferromagnet was
# calculated in the cell of each spiral, so that k-points matter little in the difference.

# %%
calc = DeepSpin("fe-bcc")
direct = {str(frame.info["point"]): frame for frame in read_frames(data / "direct.extxyz")}
structures = run_path(str(data / "direct_points.py"))  # the functions that made these structures
iron, spiral_cell = structures["iron"], structures["spiral_cell"]
a0, m0 = structures["LATTICE_CONSTANT"], structures["MOMENT"]


def energy_of_model(atoms):
    """meV per atom."""
    return 1e3 * calc.get_property("energy", atoms) / len(atoms)


figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
for axis, kind, grid, structure, label in (
    (axes[0], "volume", np.linspace(2.68, 3.0, 33), lambda a: iron(a, m0), f"lattice constant (Å), |m| = {m0} µB"),
    (axes[1], "moment", np.linspace(1.3, 2.9, 33), lambda m: iron(a0, m), f"|m| (µB), a = {a0} Å"),
):
    points = [(float(n.split()[1]), f) for n, f in direct.items() if n.startswith(kind)]
    x = np.array([x for x, _ in points])
    theirs = np.array([1e3 * frame.labels.energy / len(frame.atoms) for _, frame in points])
    ours = np.array([energy_of_model(frame.atoms) for _, frame in points])
    shift = (theirs - ours).mean()  # energies of all electrons: only differences mean something
    lowest = theirs.min()
    axis.plot(grid, [energy_of_model(structure(value)) + shift - lowest for value in grid], label="fe-bcc")
    axis.plot(x, theirs - lowest, "ko", mfc="none", label="ABINIT")
    axis.set(xlabel=label, ylabel="energy (meV/atom)")
    axis.legend()
    print(f"{kind}: rms difference {np.std(theirs - ours):.1f} of {np.ptp(theirs):.0f} meV/atom")
    assert np.std(theirs - ours) < 0.06 * np.ptp(theirs), kind

ferromagnet = energy_of_model(iron(a0, m0))
for sign, line in ((-1, "G-H"), (1, "G-N")):
    fractions = [Fraction(k, 12) for k in range(1, 13)]
    curve = [energy_of_model(spiral_cell(line, fraction)) - ferromagnet for fraction in fractions]
    axes[2].plot(sign * np.array([0.0, *map(float, fractions)]), [0.0, *curve], "C0")
    for name, frame in direct.items():
        if name.startswith(f"spiral {line}"):
            fraction = Fraction(name.split()[2])
            other = direct[f"ferromagnet {line} {fraction}"]
            theirs = 1e3 * (frame.labels.energy - other.labels.energy) / len(frame.atoms)
            axes[2].plot(sign * float(fraction), theirs, "ko", mfc="none")
            ours = energy_of_model(frame.atoms) - ferromagnet
            print(f"E(q) - E(0) at {fraction} of {line}: ABINIT {theirs:.1f}, fe-bcc {ours:.1f} meV/atom")
axes[2].set_xticks([-1, 0, 1], ["H", "Γ", "N"])
axes[2].set(xlabel="wave vector of the spiral", ylabel="E(q) − E(0) (meV/atom)")
figure.savefig(output / "11_direct.png", dpi=150)
plt.close(figure)

# With bilinear exchange A = (dE/dθ) / sin 2θ is E(q) - E(0) of the flat spiral at every angle θ of a cone.
amplitude = structures["cone_amplitude"]
for line in ("G-H", "G-N"):
    for angle in structures["CONE_ANGLES"]:
        frame = direct[f"cone {line} {angle}"]
        theirs = amplitude(frame.atoms, frame.labels.magnetic_forces, angle)
        ours = amplitude(frame.atoms, calc.get_property("magnetic_forces", frame.atoms), angle)
        print(f"cone of {angle}° at {line[-1]}: ABINIT {theirs:.0f}, fe-bcc {ours:.0f} meV/atom")

# %% [markdown]
# ## 6. Exchange, magnons, Curie temperature
#
# Second derivatives of the energy about the ferromagnet at the measured lattice constant are exchange constants. In the
# convention of M. Pajda et al., Phys. Rev. B 64, 174402 (2001), every pair counts twice and there is no ½.

# %%
magnet = iron(a0, m0)
exchange = exchange_tensors(magnet, calc, cutoff=7.5, spin_orbit=False)
distance = np.linalg.norm(exchange.vectors, axis=1)
for shell, published in zip(np.unique(np.round(distance, 2))[:5], (1.432, 0.815, -0.016, -0.126, -0.146), strict=True):
    own = 500 / Rydberg * exchange.isotropic[np.abs(distance - shell) < 0.02]
    print(f"{len(own):2d} neighbours at {shell:.2f} Å: J = {own.mean():6.3f} mRy, Pajda {published:6.3f}")
waves = SpinWaves.from_model(exchange.to_model(), get_moments(magnet))
stiffness = stiffness_tensor(waves)
print(f"stiffness {stiffness.mean:.0f} ± {stiffness.mean_error:.0f} meV Å² (experiment 280 to 330)")

result = ordering_temperature(exchange, sizes=(4, 6, 10), sweeps=1000, accuracy=0.02)
print(result.summary())
result.figure().savefig(output / "11_curie.png", dpi=150)

# %% [markdown]
# The cones say why this is far below 1043 K: in the labels themselves iron resists small angles less than large ones,
# and exchange constants are the limit of small angles. Sampling the potential itself, at the angles that heat makes,
# gives a higher temperature. `docs/iron.md` has all of it, and what the functional, small cells and classical
# moments do.

# %%
assert 500 < result.tc < 1300
assert result.tc_error < 20
