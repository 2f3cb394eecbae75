# %% [markdown]
# # 10. From nothing to a trained magnet
#
# You have a crystal and a first-principles code, and no data. Which structures should be calculated? Active learning
# answers while it goes: a *committee* of models is trained on what there is, looks at many structures, and asks for
# labels where its members disagree.
#
# 1. a first-principles code (here the Heisenberg calculator plays that part, so that the truth is known)
# 2. the file of options, and what a run would cost
# 3. the run: train, explore, select, validate, label, again
# 4. what it has learned and asked for
# 5. the check: energies of spin spirals that no label contains, with the committee's own error bars
#
# With a real code only step 1 changes: `engine: abinit`, for instance (`docs/active_learning.md`).
#
# The script takes about two minutes on one core. Files and figures go to the directory in the environment variable
# `DEEPSPIN_TUTORIAL_OUTPUT`, or to `tutorial_output/`.

# %%
import os
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import write

from deepspin_ase import DeepSpin, read_frames, set_moments, spiral
from deepspin_ase.active_learning import LearningConfig, Selection, learn, make_labeler, plan

output = Path(os.environ.get("DEEPSPIN_TUTORIAL_OUTPUT", "tutorial_output"))
output.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## 1. The first-principles code
#
# Whatever labels must give energy, forces, stress and magnetic forces −∂E/∂m of a structure with given moments. Any
# ASE calculator with magnetic forces will do. The loop wants to make it by itself, perhaps in other processes, so it
# is given as `file.py:function`. This one is iron-like: exchange J(r) between the two nearest shells, a Landau energy
# for |m|, Morse bonds.

# %%
REFERENCE = """
from deepspin_ase.heisenberg import Exponential, Heisenberg, Landau, Morse


def reference():
    return Heisenberg(
        exchange=Exponential(strength=0.01, r0=2.5, decay=0.8, cutoff=4.0),  # eV/µB²
        landau={"Fe": Landau(-0.3, 0.035)},  # eV/µB², eV/µB⁴
        lattice=Morse(depth=0.3, r0=2.55, stiffness=1.4, cutoff=4.0),
        normalise=False,
    )
"""
(output / "10_reference.py").write_text(REFERENCE, encoding="utf-8")

# %% [markdown]
# ## 2. The file of options
#
# `deepspin learn --init` writes one with every option explained. The essential parts:
#
# * `structures`: where exploration starts. Two small cells of different shape, so that pairs of atoms that are images
#   of each other in one cell are not in the other.
# * `explorers`: who proposes structures. `states` shakes and strains them and puts moments into ordered, tilted,
#   spiral, collinear and random states; it needs no model, so it also makes the first frames. `spin-lattice` would run
#   dynamics with the committee.
# * `selection`: how many labels each iteration may ask for, and how many fresh frames are drawn at random to measure
#   errors honestly. Those are never trained on.
# * `stop`: enough is enough.

# %%
write(
    output / "10_iron.extxyz",
    [bulk("Fe", a=2.87, cubic=True) * (2, 2, 1), bulk("Fe", a=2.87, cubic=True) * (3, 1, 1)],
)
settings = f"""\
structures: [10_iron.extxyz]
moments: {{Fe: 2.2}}
initial: 12
committee:
  members: 3
  model: {{cutoff: 4.2, channels: 8, layers: 1, radial: 8, quadrupoles: 0}}
  optimizer: {{epochs: 120, batch_size: 4, learning_rate: 0.02, warmup_steps: 20}}
  continued: {{epochs: 80, batch_size: 4, learning_rate: 0.01, warmup_steps: 10}}
  runtime: {{device: cpu, compile: off, threads: 1}}
explorers:
  - kind: states
    options: {{count: 150, displacement: 0.06}}
selection: {{labels: 12, validation: 8}}
labeling:
  engine: calculator
  options: {{factory: "10_reference.py:reference"}}
stop: {{accurate: 0.95, iterations: 3}}
output: {(output / "10_run").resolve()}
"""
(output / "10_learn.yaml").write_text(settings, encoding="utf-8")

# %% [markdown]
# A dry run checks everything that can be checked and counts the labels. On the command line:
# `deepspin learn 10_learn.yaml --dry-run`.

# %%
config = LearningConfig.from_file(output / "10_learn.yaml")
print("\n".join(plan(config)))

# %% [markdown]
# ## 3. The run
#
# `deepspin learn 10_learn.yaml` does the same. It can be stopped or killed at any moment; `--resume` goes on, repeats
# no label and ends with the same models. (This script starts from nothing each time.)

# %%
shutil.rmtree(output / "10_run", ignore_errors=True)
result = learn(config, say=lambda line: print(line) if "iteration" in line or "structures:" in line else None)
print(f"{result.reason}; {result.labels} labels")

# %% [markdown]
# ## 4. What it has learned, and what it asked for
#
# `10_run/report.md` has the errors on fresh frames by iteration, and each iteration its own report. An error is the
# mean over the committee, ± its spread. Every iteration draws its own eight frames: errors that differ by less than a
# factor of about 1.5 say the same.

# %%
for report in result.iterations:
    errors = report["validate"]["errors"]
    print(
        f"iteration {report['iteration']}: {report['train']['training_frames']:3d} frames, "
        + ", ".join(
            f"{name} {errors[key]['mean']:.3g} ± {errors[key]['spread']:.2g} {unit}"
            for name, key, unit in (
                ("E", "energy_rmse_mev_per_atom", "meV/atom"),
                ("F", "force_rmse_mev_per_ang", "meV/Å"),
                ("F⊥", "magnetic_force_perp_rmse_mev_per_mub", "meV/µB"),
            )
        )
    )

# %% [markdown]
# The deviations of the committee in the first iteration, with the two trust levels: below the low one a structure is
# taken as known, above the high one as out of reach, and between the two are the candidates. Among them those are
# labelled that are far from each other and from the data.

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for axis, quantity in zip(axes, ("forces", "magnetic_perp"), strict=True):
    Selection.load(result.output / "iteration-000" / "selection.npz").plot(axis, quantity=quantity)
figure.savefig(output / "10_selection.png", dpi=150)
plt.close(figure)
frames = read_frames(result.frames)
asked = [frame.info["state"] for frame in frames if frame.info["part"] == "training"]
print("states that were asked for:", {state: asked.count(state) for state in sorted(set(asked))})

# %% [markdown]
# ## 5. Is it right where it matters?
#
# Errors on frames like those of the training are one thing. Spin spirals with long periods are another: their cells are
# larger than any in the data. Along Γ–H the ferromagnet turns into the antiferromagnet, q = (0, 0, 2π/a). The committee
# is a calculator like any other: its mean is the result, `get_uncertainty` its spread.

# %%
calculator = DeepSpin(result.models)
truth = make_labeler("calculator", {"factory": f"{output / '10_reference.py'}:reference"}).calculator
PERIODS = 8  # cubic cells along z


def spiral_energy(turns: int, calc: object) -> tuple[Atoms, float]:
    """Energy per atom (meV) of a flat spiral that makes so many turns in 8 cells."""
    atoms = bulk("Fe", a=2.87, cubic=True) * (1, 1, PERIODS)
    set_moments(atoms, spiral(atoms, 2.2, q=(0, 0, turns)))
    atoms.calc = calc
    return atoms, 1e3 * atoms.get_potential_energy() / len(atoms)


q = np.arange(PERIODS + 1) / PERIODS  # in units of 2π/a
exact = np.array([spiral_energy(n, truth)[1] for n in range(PERIODS + 1)])
found, spread = [], []
for n in range(PERIODS + 1):
    atoms, energy = spiral_energy(n, calculator)
    found.append(energy)
    spread.append(1e3 * calculator.get_uncertainty(atoms)["energy"] / len(atoms))
learned, width = np.array(found), np.array(spread)
gain, exact_gain = learned - learned[0], exact - exact[0]
deviation = np.abs(gain - exact_gain).max()
print(f"antiferromagnet above ferromagnet: {gain[-1]:.1f} meV/atom, exact {exact_gain[-1]:.1f} meV/atom")
print(f"largest deviation along Γ-H: {deviation:.1f} meV/atom, committee says {width.max():.1f} meV/atom")

# %% [markdown]
# The picture for the report:

# %%
figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
axis.plot(q, exact_gain, "k", lw=1, label="exact")
axis.errorbar(q, gain, width, fmt="C0o", mfc="none", capsize=3, label="committee")
axis.set(xlabel="q (2π/a), Γ to H", ylabel="energy of the spiral (meV/atom)")
axis.legend()
figure.savefig(output / "10_spirals.png", dpi=150)
plt.close(figure)

# %% [markdown]
# Where to go from here: more labels and longer trainings (this one took two minutes), `spin-lattice` exploration at the
# temperatures of interest, and a first-principles engine in place of the Heisenberg calculator. The labelled frames are
# in `10_run/frames.extxyz`: they stay useful for any later training (`deepspin train`).
#
# These numbers a run of the script must reach; the package's tests hold it to them.

# %%
first, last = (report["validate"]["errors"] for report in (result.iterations[0], result.iterations[-1]))
assert last["energy_rmse_mev_per_atom"]["mean"] < 0.7 * first["energy_rmse_mev_per_atom"]["mean"], (first, last)
assert last["force_rmse_mev_per_ang"]["mean"] < 60.0  # of about 500
assert last["magnetic_force_perp_rmse_mev_per_mub"]["mean"] < 5.0  # of about 130
assert deviation < 0.05 * exact_gain[-1], (deviation, exact_gain[-1])
