# %% [markdown]
# # 4. Moments and atoms in motion
#
# `SpinLatticeDynamics` moves the atoms (Newton) and turns their moments (Gilbert) in one energy surface E(R, m), here
# that of NiO from the shipped model `nio`:
#
# 1. a structure and its time step
# 2. an isolated crystal with a hot lattice and cool moments: energy, and what does not happen
# 3. thermal contact: the moments warm up, the lattice cools down
# 4. pictures: temperatures against time, and a strip of the moments
#
# It takes about half a minute. Figures and files go to the directory in the environment variable
# `DEEPSPIN_TUTORIAL_OUTPUT`, or to `tutorial_output/`.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms, units
from ase.build import bulk, make_supercell

from deepspin_ase import DeepSpin, collinear_order, get_moments, set_moments, tilt
from deepspin_plugins.spin_dynamics import (
    LatticeLangevin,
    MomentTrajectory,
    MomentTrajectoryWriter,
    Recorder,
    SpinLangevin,
    SpinLatticeDynamics,
    TimeSeries,
    lattice_temperature,
    spin_temperature,
    suggest_timestep,
)

output = Path(os.environ.get("DEEPSPIN_TUTORIAL_OUTPUT", "tutorial_output"))
output.mkdir(parents=True, exist_ok=True)
fs = units.fs

# %% [markdown]
# ## 1. Structure and time step
#
# 32 atoms, in the order of tutorial 1. The model has no spin-orbit coupling, so the axis of the moments is ours to
# choose: in the (111) sheets, where it is in nature.
#
# The model knows displacements of about 0.01 Å and Ni moments of 1.2737 µB, so we stay below 100 K. The lengths of the
# moments stay what they are in this driver. (How far a model reaches is on its card: `model_card("nio")`.)
#
# The moments set the time step. They are fast, because the exchange in NiO is strong and the moment small: 0.2 fs for
# 0.1 rad of the fastest mode. Twice or three times that will do, as section 2 shows.
#
# `dtype="float32"` is a third faster, and good enough for dynamics; the default is double precision.

# %%
LATTICE_CONSTANT = 4.186  # Å
MOMENT = 1.2737  # µB
ALONG, NORMAL = np.array([1, 1, -2]) / np.sqrt(6), np.array([1, 1, 1]) / np.sqrt(3)

primitive = bulk("NiO", "rocksalt", a=LATTICE_CONSTANT)
crystal = make_supercell(primitive, [[2, 2, 0], [0, 2, 2], [2, 0, 2]])
order = collinear_order(crystal, {"Ni": MOMENT, "O": 0.0}, q=(0.5, 0.5, 0.5), direction=ALONG, cell=primitive.cell)
set_moments(crystal, order)
calc = DeepSpin("nio", dtype="float32")

atoms = crystal.copy()
atoms.calc = calc
suggested = suggest_timestep(atoms) / fs
print(f"{len(atoms)} atoms; time step for 0.1 rad: {suggested:.2f} fs")

# %% [markdown]
# ## 2. An isolated crystal
#
# Kinetic energy for 160 K on an undistorted lattice: half of it goes into the bonds, which leaves about 80 K. Every
# moment is turned by a few degrees in a random direction: some 10 K, as the thermometer will tell.
#
# Without a bath nothing but E(R, m) acts, and the total energy must stay.

# %%
HOT = 80.0  # K
rng = np.random.default_rng(1)
momenta = rng.normal(size=(len(atoms), 3)) * np.sqrt(atoms.get_masses() * units.kB)[:, None]
momenta -= momenta.mean(axis=0)
atoms.set_momenta(momenta)
atoms.set_momenta(momenta * np.sqrt(2 * HOT / atoms.get_temperature()))

set_moments(atoms, tilt(order, 5.0, rng=2))
start, start_forces = atoms.copy(), atoms.get_forces()

circles = np.random.default_rng(4)
temperatures = {"lattice": lattice_temperature, "moments": lambda a: spin_temperature(a, rng=circles)}


def isolated(timestep: float, duration: float) -> tuple[Atoms, TimeSeries, TimeSeries]:
    """Motion without baths from the start (times in fs): the end, energies, temperatures."""
    here = start.copy()
    here.calc = calc
    dynamics = SpinLatticeDynamics(here, timestep * fs)
    energy = Recorder(dynamics, {"E": lambda a: 1e3 * a.get_total_energy() / len(a)})
    thermometer = Recorder(dynamics, temperatures)
    dynamics.attach(energy, 1)
    dynamics.attach(thermometer, round(10 / timestep))
    dynamics.run(round(duration / timestep))
    print(
        f"{timestep} fs: energy of the crystal moves by {np.ptp(energy.series()['E']):.5f} meV/atom (kinetic "
        f"{1e3 * start.get_kinetic_energy() / len(start):.1f} at the start), {dynamics.evaluations / dynamics.nsteps} "
        "evaluations per step"
    )
    return here, energy.series(), thermometer.series()


coarse = isolated(1.0, 60)[1]
atoms, fine, alone = isolated(0.5, 90)

# %% [markdown]
# Two evaluations of the network per step, whatever the number of atoms; half the step, a quarter of the error, and no
# trend.
#
# And the moments stay cool. Their disorder changes the forces on the atoms by very little (the last line), the
# vibrations of 0.03 Å change the exchange by little, and what is left has to meet in frequency. Without spin-orbit
# coupling the lattice cannot even start: a strictly collinear state feels no torque, whatever the atoms do. On the
# scale of such a run that is isolation. (The other way round as well: hot moments leave atoms at rest where they are.)

# %%
print(f"after {alone.times[-1]:.0f} fs alone: lattice {alone['lattice'][-4:].mean():.0f} K, moments ", end="")
print(f"{alone['moments'][-4:].mean():.0f} K")
spread = np.sqrt(np.mean((atoms.positions - start.positions) ** 2))
strongest = np.abs(start_forces).max()
print(f"displacements {spread:.3f} Å (rms per component); moments push with {1e3 * strongest:.1f} meV/Å")

# %% [markdown]
# ## 3. Thermal contact
#
# In a solid the two also meet through what the model leaves out: electrons, impurities, spin-orbit coupling. The
# Gilbert damping of a `SpinLangevin` bath and the friction of a `LatticeLangevin` bath stand for that. Each has its own
# temperature and strength. Here both belong to one reservoir of 45 K; damping 0.1 and friction 1/(100 fs) are chosen
# for a short script, not for NiO.
#
# `MomentTrajectoryWriter` streams moments (and positions) to a file, however long the run.

# %%
RESERVOIR = 45.0  # K
STEP = 0.8  # fs
dynamics = SpinLatticeDynamics(
    atoms,
    STEP * fs,
    spin_bath=SpinLangevin(RESERVOIR, damping=0.1),
    lattice_bath=LatticeLangevin(RESERVOIR, 0.01 / fs),
    rng=3,
)
thermometer = Recorder(dynamics, temperatures)
dynamics.attach(thermometer, 10)
with MomentTrajectoryWriter(output / "04_nio.h5", atoms, dynamics, positions=True) as writer:
    dynamics.attach(writer, 5)
    dynamics.run(400)
contact = thermometer.series()

late = contact.after(120)
means = {name: late.mean(name) for name in temperatures}
for name, mean in means.items():
    note = "" if mean.reliable else " (or more: too short)"
    print(f"{name}: {contact[name][0]:.0f} K at contact, then {mean.value:.0f} ± {mean.error:.0f} K{note}")

# %% [markdown]
# One configuration of 16 moments gives their temperature only to T √(2/16), a third, or worse; 32 atoms give that of
# the lattice to T √(2/93), a seventh. So the curves wiggle, only means over time say something, and for good ones these
# 0.3 ps are too short.
#
# `spin_temperature` is not the textbook formula Σ|m × F|²/(2 k_B Σ m·F). That one needs the whole field along the
# moment, and a learned F^m along m also holds the length of the moment in place. It measures the curvature of the
# energy along random great circles, which costs a few more evaluations; hence the interval of 10 steps. Give it a
# generator, as above, so that every frame has circles of its own.
#
# ## 4. Pictures
#
# Temperatures first. In the first femtoseconds kinetic energy becomes potential energy of the bonds, in step; the
# contact starts at the line.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained", width_ratios=(3, 2))
for name, color in zip(temperatures, ("C3", "C0"), strict=True):
    time = np.concatenate([alone.times, fine.times[-1] + contact.times])
    left.plot(time, np.concatenate([alone[name], contact[name]]), color, lw=1, label=name)
left.axvline(fine.times[-1], color="k", lw=1)
left.axhline(RESERVOIR, color="0.6", ls="--", lw=1, label="reservoir")
left.set(xlabel="time (fs)", ylabel="temperature (K)", title="NiO: alone | in contact with a reservoir", ylim=(0, None))
left.legend()
for run, label in ((coarse, "1.0 fs"), (fine, "0.5 fs")):
    right.plot(run.times, 1e3 * (run["E"] - run["E"][0]), label=label)
right.set(xlabel="time (fs)", ylabel="total energy (µeV per atom)", title="energy of the isolated crystal")
right.legend()
figure.savefig(output / "04_temperatures.png", dpi=150)
plt.close(figure)

# %% [markdown]
# The strip shows a (1−10) plane of the crystal with its periodic images: (111) sheets are horizontal, oxygen is grey.
#
# One thing in it is more than thermal disorder. Strong exchange couples a Ni only to its six second neighbours, across
# an oxygen; they make up one of four simple cubic sublattices. Each is a good antiferromagnet, but the sublattices
# hardly feel each other, because the fields of nearest neighbours cancel, and without spin-orbit coupling each may turn
# as a whole. With only four moments in each they do so within a tenth of a picosecond. So an arrow is coloured by the
# angle to the axis of its own sublattice: that is the disorder inside.
#
# `plot_moments(frame)` draws moments in three dimensions; `ase.io.write("movie.extxyz", list(trajectory))` makes a
# movie for `ase gui`.

# %%
sign = np.sign(order @ ALONG)  # +1, -1 on Ni, 0 on O
corners = np.rint(2 * crystal.positions / LATTICE_CONSTANT).astype(int) % 2 @ [1, 2, 4]
sublattices = [np.flatnonzero((sign != 0) & (corners == corner)) for corner in np.unique(corners[sign != 0])]


def disorder(moments: np.ndarray) -> np.ndarray:
    """Angle of each Ni moment to the axis of its sublattice, degrees, (n,)."""
    angle = np.zeros(len(moments))
    for members in sublattices:
        staggered = sign[members, None] * moments[members]
        axis = staggered.sum(axis=0) / np.linalg.norm(staggered.sum(axis=0))
        angle[members] = np.degrees(np.arccos(np.clip(staggered @ axis / MOMENT, -1, 1)))
    return angle


images = crystal.repeat(5)
seen = (images.positions - images.positions[62 * len(crystal)]) @ np.array([ALONG, NORMAL, np.cross(ALONG, NORMAL)]).T
inside = np.flatnonzero((np.abs(seen[:, 2]) < 0.1) & (np.abs(seen[:, 0]) < 7) & (np.abs(seen[:, 1]) < 6))
which = inside % len(crystal)  # the atom of which it is an image
nickel = sign[which] != 0

with MomentTrajectory(output / "04_nio.h5") as trajectory:
    shown = [round(part * (len(trajectory) - 1)) for part in (0, 0.2, 1)]
    frames = [(0.0, start)] + [(fine.times[-1] + trajectory.times[k], trajectory[k]) for k in shown]

figure, panels = plt.subplots(1, 4, figsize=(13, 3.2), layout="constrained")
angles = []
for panel, (time, frame) in zip(panels, frames, strict=True):
    moments = get_moments(frame)
    angle = disorder(moments)
    angles.append(np.sqrt(np.mean(angle[sign != 0] ** 2)))
    panel.plot(*seen[inside[~nickel], :2].T, "o", color="0.85", ms=5)
    arrows = panel.quiver(
        *seen[inside[nickel], :2].T,
        moments[which[nickel]] @ ALONG,
        moments[which[nickel]] @ NORMAL,
        angle[which[nickel]],
        pivot="mid",
        angles="xy",
        scale_units="xy",
        scale=0.5,
        width=0.016,
        clim=(0, 25),
        cmap="viridis",
    )
    panel.set(title=f"{time:.0f} fs: {angles[-1]:.0f}° rms", aspect="equal", xlim=(-8, 8), ylim=(-6.5, 6.5))
    panel.set_axis_off()
figure.colorbar(arrows, ax=panels, label="angle to the sublattice (°)", shrink=0.8)
figure.savefig(output / "04_strip.png", dpi=150)
plt.close(figure)

# %% [markdown]
# For numbers with small error bars run longer, take a larger crystal, or several replicas in one batch
# (`ReplicaSpinDynamics`). `deepspin spin-dynamics nio.extxyz --model nio --temperature 45 --lattice --steps 5000` is
# the same from the command line, with log, restart and pictures; `docs/spin_dynamics.md` has the rest.
#
# What this script must have found; the package's tests hold it to that.

# %%
assert 0.1 < suggested < 0.4
assert np.ptp(coarse["E"]) < 0.05, "meV per atom"
assert np.ptp(fine["E"]) < 0.4 * np.ptp(coarse["E"])
assert alone["moments"].max() < 25.0
assert alone["lattice"][-1] > 30.0
assert 0.5 * RESERVOIR < means["lattice"].value < 1.6 * RESERVOIR
assert 0.4 * RESERVOIR < means["moments"].value < 1.6 * RESERVOIR
assert len(sublattices) == 4
assert angles[0] < max(angles[1:]) < 50.0
