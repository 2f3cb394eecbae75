# %% [markdown]
# # 3. From precession to hysteresis
#
# `SpinDynamics` is an ASE driver that turns the moments of a structure by Gilbert's equation. Here it meets spin models
# (the `Heisenberg` calculator) whose answers are known, so that you can see what the numbers mean before a learned
# potential takes their place. That only changes one line, `atoms.calc = DeepSpin("nio")`; tutorial 4 does it.
#
# 1. one damped moment against its exact solution, and which integrator to take
# 2. energy without damping
# 3. thermal noise: the Boltzmann distribution
# 4. a ferromagnet from low temperature to above T_c
# 5. hysteresis at T = 0: Stoner and Wohlfarth's particles
# 6. hysteresis of a warm ferromagnet
#
# It takes about half a minute. Figures go to the directory in the environment variable `DEEPSPIN_TUTORIAL_OUTPUT`, or
# to `tutorial_output/`.

# %%
import os
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms, units

from deepspin_ase import Heisenberg, HeisenbergModel, ferromagnet, get_moments, random_directions, set_moments, tilt
from deepspin_ase.heisenberg import uniaxial
from deepspin_ase.quantities import GAMMA, K_B, MU_B
from deepspin_plugins.spin_dynamics import (
    Magnetization,
    Recorder,
    SpinDynamics,
    TimeSeries,
    ZeemanField,
    spin_temperature,
    suggest_timestep,
)

output = Path(os.environ.get("DEEPSPIN_TUTORIAL_OUTPUT", "tutorial_output"))
output.mkdir(parents=True, exist_ok=True)

MOMENT = 2.0  # µB
fs = units.fs

# %% [markdown]
# ## 1. One damped moment
#
#     de/dt = −γ/(1+α²) e × B − αγ/(1+α²) e × (e × B),   e = m/|m|,   B = F^m/µB
#
# A moment that starts along +x in a field B along z has the exact solution
#
#     e_z = tanh(α γ B t/(1+α²)),   azimuth φ = γ B t/(1+α²)
#
# It turns from +x towards +y: right-handed about the field. `Recorder` collects any function of the structure, at an
# interval.
#
# Time steps are in ASE's units, as in all drivers of ASE: write `2.0 * fs`, not `2.0`. `suggest_timestep` says in which
# time the fastest mode advances by 0.1 rad.

# %%
FIELD = 50.0  # T
ALPHA = 0.1
period = 2e15 * np.pi * (1 + ALPHA**2) / (GAMMA * FIELD)  # fs


def one_moment(steps_per_period: int, integrator: str) -> TimeSeries:
    """Ten periods of a damped moment that starts along x."""
    atoms = Atoms("Fe", cell=[5, 5, 5], pbc=True)
    set_moments(atoms, [[MOMENT, 0, 0]])
    atoms.calc = Heisenberg(field=(0, 0, FIELD))
    dynamics = SpinDynamics(atoms, period / steps_per_period * fs, damping=ALPHA, integrator=integrator)
    recorder = Recorder(dynamics, {"e": lambda a: get_moments(a)[0] / MOMENT})
    dynamics.attach(recorder, 1)
    dynamics.run(10 * steps_per_period)
    if steps_per_period == 60 and integrator == "heun":
        print(f"period {period:.0f} fs; suggested time step {suggest_timestep(atoms) / fs:.1f} fs")
    return recorder.series()


def exact_direction(times: np.ndarray) -> np.ndarray:
    """The exact solution, (frames, 3), at times in fs."""
    phase = GAMMA * FIELD * 1e-15 * times / (1 + ALPHA**2)
    return np.column_stack([np.cos(phase), np.sin(phase), np.sinh(ALPHA * phase)]) / np.cosh(ALPHA * phase)[:, None]


integrators = ("depondt-mertens", "semi-implicit", "implicit-midpoint", "heun")
resolution = (15, 30, 60, 120)
errors = {}
for name in integrators:
    runs = [one_moment(n, name) for n in resolution]
    errors[name] = np.array([np.abs(run["e"] - exact_direction(run.times)).max() for run in runs])
    orders = np.log2(errors[name][:-1] / errors[name][1:])
    print(f"{name:18s} largest error", *(f"{x:.1e}" for x in errors[name]), " order", *(f"{x:.2f}" for x in orders))

# %% [markdown]
# Every integrator is of second order: half the step, a quarter of the error. `"depondt-mertens"`, the default, and
# `"semi-implicit"` need two evaluations of the field per step, the implicit midpoint rule some ten. All of them keep
# |m| to round-off.

# %%
precession = one_moment(120, "depondt-mertens")
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for k, axis in enumerate("xyz"):
    left.plot(1e-3 * precession.times, exact_direction(precession.times)[:, k], "k", lw=0.8)
    left.plot(1e-3 * precession.times[::12], precession["e"][::12, k], f"C{k}o", ms=4, label=f"$e_{axis}$")
left.set(xlabel="time (ps)", ylabel="direction of the moment", title=f"one moment, B = {FIELD:.0f} T, α = {ALPHA}")
left.legend(loc=(0.84, 0.56))
for name, marker in zip(integrators, "osv^", strict=True):
    right.loglog(2 * np.pi / np.array(resolution), errors[name], marker + "-", mfc="none", label=name)
angle = 2 * np.pi / np.array(resolution)
right.loglog(angle, 0.4 * angle**2, "k:", label="∝ Δt²")
right.set(xlabel="angle per step (rad)", ylabel="largest error in ten periods", title="order of the integrators")
right.set_xticks([0.05, 0.1, 0.2, 0.4], ["0.05", "0.1", "0.2", "0.4"])
right.minorticks_off()
right.legend(fontsize=8)
figure.savefig(output / "03_precession.png", dpi=150)
plt.close(figure)

# %% [markdown]
# ## 2. Energy without damping
#
# Without damping the energy is constant, and what an integrator makes of it is what separates them. The test is a hot
# simple cubic ferromagnet with 512 moments at a step of about 0.2 rad. The midpoint rule is exact here, because the
# energy is quadratic in the moments; what it leaves is the tolerance of its iteration. The others heat the magnet
# slowly and steadily. With damping and noise that hardly matters, and two evaluations per step are cheap, which is why
# Depondt–Mertens is the default. `run` warns if the energy of an undamped run moves by more than 1 meV per atom.
#
# `HeisenbergModel.from_shells` takes J in eV "per bond, each bond once" (E = −½ Σ_{i≠j} J e_i·e_j); TB2J's and
# UppASD's numbers are half of that. Strength 3 meV makes a T_c of 50 K: 1.443 J/k_B for this lattice.

# %%
EXCHANGE = 3e-3  # eV
ANISOTROPY = 1.5e-3  # eV, easy axis z
CURIE = 1.443 * EXCHANGE / K_B  # K

cube = Atoms("Fe", cell=[2.5, 2.5, 2.5], pbc=True)
isotropic = HeisenbergModel.from_shells(cube, [EXCHANGE], magnitudes=MOMENT)

drift = {}
for name in integrators:
    atoms = cube.repeat(8)
    set_moments(atoms, tilt(ferromagnet(atoms, MOMENT), 60, rng=1, uniform=True))
    atoms.calc = Heisenberg(isotropic)
    dynamics = SpinDynamics(atoms, 4.0 * fs, integrator=name)
    recorder = Recorder(dynamics, {"E": lambda a: 1e6 * a.get_potential_energy() / len(a)})
    dynamics.attach(recorder, 10)
    dynamics.run(1500)
    energy = recorder.series()["E"]
    drift[name] = energy - energy[0]
    calls = dynamics.evaluations / dynamics.nsteps
    print(f"{name:18s} energy after 6 ps {drift[name][-1]:+9.3f} µeV per atom, {calls:.1f} evaluations per step")

# %% [markdown]
# ## 3. Thermal noise
#
# `temperature=` adds a random field of the strength that the damping asks for. Whatever α is, the moments then have
# Boltzmann's distribution. (How fast they get there does depend on α; 0.1 to 1 is good for averages, the physical value
# for dynamics in time.) `ZeemanField` puts a field (tesla) around any calculator, so that every driver sees it. Take
# 1000 moments with an easy axis and no exchange, E = −K cos²θ − |m| µB B cos θ:

# %%
TEMPERATURE = 20.0  # K
free = Atoms("Fe1000", positions=np.zeros((1000, 3)), cell=[5, 5, 5], pbc=True)
set_moments(free, random_directions(free, MOMENT, rng=2))
free.calc = ZeemanField(Heisenberg(anisotropy={"Fe": uniaxial(3e-3, "z")}), (0, 0, 3.0))
dynamics = SpinDynamics(free, 8.0 * fs, damping=0.5, temperature=TEMPERATURE, rng=3)
recorder = Recorder(dynamics, {"cos": lambda a: get_moments(a)[:, 2] / MOMENT, "T": spin_temperature})
dynamics.attach(recorder, 100)
dynamics.run(6000)
series = recorder.series().after(8000)
bath = series.mean("T")
print(f"spin temperature {bath.value:.2f} ± {bath.error:.2f} K in a bath of {TEMPERATURE} K")

edges = np.linspace(-1, 1, 41)
cosines = np.linspace(-1, 1, 4001)
weight = np.exp((3e-3 * cosines**2 + MOMENT * MU_B * 3.0 * cosines) / (K_B * TEMPERATURE))
weight /= np.trapezoid(weight, cosines)
mean_square = np.mean(series["cos"] ** 2)
exact_square = np.trapezoid(weight * cosines**2, cosines)
print(f"⟨cos²θ⟩ = {mean_square:.4f}, exact {exact_square:.4f}")

# %% [markdown]
# ## 4. A ferromagnet in a bath
#
# `SpinDynamics` may change its temperature on the way: `dynamics.temperature = 300`. So one driver heats the magnet
# step by step. `series.mean` gives errors that know of autocorrelations, and says if the run was too short for them to
# be believed, as it must be near T_c. At low temperature every spin wave takes its share of k_B T:
#
#     M/|m| = 1 − k_B T (1/N) Σ_{q≠0} 1/(J(0) − J(q))

# %%
magnet = cube.repeat(6)
set_moments(magnet, ferromagnet(magnet, MOMENT))
magnet.calc = Heisenberg(isotropic)
dynamics = SpinDynamics(magnet, 4.0 * fs, damping=0.5, temperature=0.0, integrator="semi-implicit", rng=4)
order = Magnetization(magnet)
temperatures = np.array([2.5, 5, 10, 20, 30, 40, 47, 55, 70])
means, baths = [], []
for temperature in temperatures:
    dynamics.temperature = temperature
    dynamics.run(500)
    recorder = Recorder(dynamics, {"M": lambda a: np.linalg.norm(order(a)) / MOMENT, "T": spin_temperature})
    dynamics.attach(recorder, 20)
    dynamics.run(2000)
    dynamics.observers.pop()
    means.append(recorder.series().mean("M"))
    baths.append(recorder.series().mean("T"))
    print(
        f"{temperature:5.1f} K: M = {means[-1].value:.4f} ± {means[-1].error:.4f}"
        f"{'' if means[-1].reliable else ' (or more: too short)'}, spin temperature {baths[-1].value:.2f} K"
    )

mesh = np.stack(np.meshgrid(*[np.arange(6) / 6] * 3), axis=-1).reshape(-1, 3)[1:]
waves = 2 * EXCHANGE * (3 - np.cos(2 * np.pi * mesh).sum(axis=1))  # J(0) − J(q)
low_temperature = 1 - K_B * temperatures * np.sum(1 / waves) / len(magnet)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
left.hist(series["cos"].ravel(), bins=edges, density=True, color="C0", alpha=0.5, label="Langevin dynamics")
left.plot(cosines, weight, "k", label="Boltzmann")
left.set(xlabel="cos θ", ylabel="density", title=f"easy axis and 3 T at {TEMPERATURE:.0f} K")
left.legend()
right.errorbar(
    temperatures, [m.value for m in means], [m.error for m in means], fmt="o", mfc="none", label="216 moments"
)
right.plot(temperatures[:5], low_temperature[:5], "k", lw=1, label="spin waves")
right.axvline(CURIE, color="0.7", ls="--", label="T$_c$ of the infinite crystal")
right.set(xlabel="temperature (K)", ylabel="M/|m|", title="simple cubic ferromagnet", ylim=(0, 1.02))
right.legend()
figure.savefig(output / "03_equilibrium.png", dpi=150)
plt.close(figure)

# %% [markdown]
# ## 5. Hysteresis at T = 0
#
# A field that changes with time is any function of the time in fs; the driver keeps the clock. Swept slowly down and up
# again, it turns an anisotropic moment over at another field than the one at which it turns back. For E = −K (e·n)² −
# |m| µB e·B and an angle ψ between B and the easy axis n, the moment jumps at (Stoner and Wohlfarth)
#
#     B_sw = B_K (cos^⅔ψ + sin^⅔ψ)^(−3/2),   B_K = 2K/(|m| µB)
#
# A powder of such particles has a remanence of 1/2 and a coercive field of 0.479 B_K. All of this comes out of one
# run: the easy axis may differ from site to site, (n, 3, 3). Four particles have chosen axes, 500 are the powder.

# %%
ANISOTROPY_FIELD = 2 * ANISOTROPY / (MOMENT * MU_B)  # T
psi = np.array([5.0, 20.0, 45.0, 80.0])
golden = np.pi * (1 + 5**0.5)
count = np.arange(500) + 0.5
tilts = np.concatenate([np.deg2rad(psi), np.arccos(1 - count / 500)])  # evenly over half a sphere
turns = np.concatenate([np.zeros(4), golden * count])
easy = np.column_stack([np.sin(tilts) * np.cos(turns), np.sin(tilts) * np.sin(turns), np.cos(tilts)])


def triangle(limit: float, duration: float) -> Callable[[float], tuple[float, float, float]]:
    """Field along z from +limit to −limit (T) and back within a time in fs."""
    return lambda time: (0.0, 0.0, limit * (np.abs(4 * time / duration - 2) - 1))


particles = Atoms("Fe504", positions=np.zeros((504, 3)) + 3.0 * np.arange(504)[:, None], cell=[1600] * 3)
grains = HeisenbergModel.from_bonds(
    particles, [], magnitudes=MOMENT, anisotropy=np.array([uniaxial(ANISOTROPY, n) for n in easy])
)
set_moments(particles, ferromagnet(particles, MOMENT))
DURATION = 640e3  # fs
particles.calc = ZeemanField(Heisenberg(grains), triangle(1.3 * ANISOTROPY_FIELD, DURATION))
dynamics = SpinDynamics(particles, 40 * fs, damping=1.0)
recorder = Recorder(dynamics, {"B": lambda a: a.calc.field[2], "m": lambda a: get_moments(a)[:, 2] / MOMENT})
dynamics.attach(recorder, 10)
dynamics.run(round(DURATION / 40))
loop = recorder.series()


def switching_field(angle: np.ndarray) -> np.ndarray:
    """Where Stoner and Wohlfarth's particle jumps, T; angle in degrees."""
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return ANISOTROPY_FIELD * (c ** (2 / 3) + s ** (2 / 3)) ** -1.5


def crossing(field: np.ndarray, values: np.ndarray) -> float:
    """Field at which a quantity first becomes negative, T."""
    k = int(np.argmax(values < 0))
    return float(np.interp(0, values[[k, k - 1]], field[[k, k - 1]]))


down = slice(0, len(loop) // 2 + 1)
field = loop["B"]
measured = np.array([-field[down][np.argmin(np.diff(loop["m"][down, k]))] for k in range(4)])
for angle, found, law in zip(psi, measured, switching_field(psi), strict=True):
    print(f"ψ = {angle:2.0f}°: jumps at {found:.2f} T, Stoner-Wohlfarth {law:.2f} T")
powder = loop["m"][:, 4:].mean(axis=1)
remanence = np.interp(0, field[down][::-1], powder[down][::-1])
coercive = -crossing(field[down], powder[down])
print(f"powder: remanence {remanence:.3f} (0.500), coercive field {coercive / ANISOTROPY_FIELD:.3f} B_K (0.479)")

# %% [markdown]
# The jumps come some 8 % late, because the field does not wait: it moves by 0.2 T per picosecond, many orders of
# magnitude faster than in a laboratory. Near the jump the slope of the energy is small, and so is the speed of the
# moment. Sweep more slowly to see how much of a loop is rate.
#
# ## 6. Hysteresis of a warm ferromagnet
#
# Now with exchange and heat: the 216 moments of section 4 with an easy axis 2° off the field. At T = 0 they turn as one
# particle. Heat makes the loop narrower, for two reasons: the anisotropy that the whole feels falls with a high power
# of the magnetisation (M³ for this kind), and kicks help it across the barrier that is left, which is small for so
# small a piece.

# %%
axis = (np.sin(np.deg2rad(2)), 0, np.cos(np.deg2rad(2)))
stiff = HeisenbergModel.from_shells(cube, [EXCHANGE], magnitudes=MOMENT, anisotropy=uniaxial(ANISOTROPY, axis))
WARM = (0.0, 10.0, 25.0, 70.0)  # K
SWEEP = 80e3  # fs
loops = []
for temperature in WARM:
    magnet = cube.repeat(6)
    set_moments(magnet, ferromagnet(magnet, MOMENT))
    magnet.calc = ZeemanField(Heisenberg(stiff), triangle(1.3 * ANISOTROPY_FIELD, SWEEP))
    dynamics = SpinDynamics(magnet, 4 * fs, damping=0.7, temperature=temperature, integrator="semi-implicit", rng=5)
    recorder = Recorder(dynamics, {"B": lambda a: a.calc.field[2], "M": lambda a: order(a)[2] / MOMENT})
    dynamics.attach(recorder, 20)
    dynamics.run(round(SWEEP / 4))
    loops.append(recorder.series())

coercive_fields = []
for temperature, run in zip(WARM, loops, strict=True):
    half = len(run) // 2
    first = -crossing(run["B"][:half], run["M"][:half])
    second = crossing(run["B"][half:], -run["M"][half:])
    coercive_fields.append((first, second))
    print(f"{temperature:4.0f} K: M passes zero at {-first:+.2f} T and {second:+.2f} T")

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for k, angle in enumerate(psi):
    left.plot(field / ANISOTROPY_FIELD, loop["m"][:, k], f"C{k}", lw=1, label=f"ψ = {angle:.0f}°")
    left.axvline(-switching_field(psi)[k] / ANISOTROPY_FIELD, color=f"C{k}", ls=":", lw=1)
left.plot(field / ANISOTROPY_FIELD, powder, "k", lw=2, label="powder")
left.set(xlabel="B/B$_K$", ylabel="M/|m| along the field", title="T = 0: single particles (jump by theory dotted)")
left.set_xlim(-1.4, 2.2)
left.legend(loc="center right", fontsize=8)
for k, (temperature, run) in enumerate(zip(WARM, loops, strict=True)):
    right.plot(run["B"], run["M"], f"C{k}", lw=1, label=f"{temperature:.0f} K")
right.set(xlabel="B (T)", ylabel="M/|m| along the field", title=f"ferromagnet, T$_c$ ≈ {CURIE:.0f} K")
right.legend(loc=(0.55, 0.16), fontsize=8)
figure.savefig(output / "03_hysteresis.png", dpi=150)
plt.close(figure)

# %% [markdown]
# Above T_c nothing is left of the loop but a paramagnet that follows the field (with a lag: the sweep is fast).
#
# On the command line the drivers are `deepspin spin-dynamics`; `docs/spin_dynamics.md` has the observers, trajectories
# that are streamed to disk, restarts, and minima and the paths between them. Tutorial 4 sets the atoms free, too.
#
# What this script must have found; the package's tests hold it to that.

# %%
for name in integrators:
    assert 1.9 < np.log2(errors[name][-2] / errors[name][-1]) < 2.1, name
assert errors["depondt-mertens"][-1] < 5e-3
assert np.abs(drift["implicit-midpoint"]).max() < 1.0  # µeV per atom
assert max(np.abs(energy).max() for energy in drift.values()) < 200.0
assert abs(bath.value - TEMPERATURE) < 4 * bath.error + 0.01 * TEMPERATURE
assert abs(mean_square - exact_square) < 0.01
assert abs(means[0].value - low_temperature[0]) < 1e-3
assert abs(means[1].value - low_temperature[1]) < 4e-3
assert means[-1].value < 0.3
assert np.all(np.abs(measured / switching_field(psi) - 1) < 0.1)
assert abs(remanence - 0.5) < 0.02
assert abs(coercive / ANISOTROPY_FIELD - 0.479) < 0.04
mean_coercive = np.mean(coercive_fields, axis=1)
assert np.all(np.diff(mean_coercive) < 0)
assert mean_coercive[-1] < 0.2 * mean_coercive[0]
