"""Energies of a potential of bcc iron beside direct points: volumes, lengths of moments, spin spirals."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np
from ase.eos import EquationOfState
from ase.units import GPa
from direct_points import (
    CONE_ANGLES,
    FRACTIONS,
    LATTICE_CONSTANT,
    MOMENT,
    MOMENTS,
    VOLUMES,
    cone_amplitude,
    cone_cell,
    iron,
    spiral_cell,
)
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline
from validation_study import Iron, Row, Study, labelled_energy

from deepspin_ase.errors import InputError
from deepspin_ase.vectors import Array

_CURVE: Final = [Fraction(k, 12) for k in range(1, 13)]  # of the way from Γ


def label_errors(data: Iron) -> Study:
    """How far the potential is from the direct points. Forces vanish in all of them by symmetry."""
    frames = list(data.frames.values())
    if not frames:
        return Study([Row("direct points", "", 0, remark="none: make them with validate.py run, collect")])
    energy = np.array([data.energy(f.atoms) - labelled_energy(f) for f in frames])
    along, across, stress = [], [], []
    for frame in frames:
        unit = frame.moments / np.linalg.norm(frame.moments, axis=1, keepdims=True)
        off = data.calc.get_property("magnetic_forces", frame.atoms) - frame.labels.magnetic_forces
        parallel = np.einsum("ia,ia->i", off, unit)
        along += parallel.tolist()
        if frame.info["point"].startswith("cone"):  # elsewhere torques vanish by symmetry
            across += (off - parallel[:, None] * unit).tolist()
        if frame.labels.stress is not None:
            stress += (data.calc.get_property("stress", frame.atoms) - frame.labels.stress).tolist()
    remark = f"{len(frames)} direct points"
    return Study(
        [
            Row("rmse of energies", "meV/atom", 1e3 * rms(energy), remark=remark),
            Row("rmse of energies, common shift removed", "meV/atom", 1e3 * float(energy.std()), remark=remark),
            Row("rmse of magnetic forces along m", "meV/µB", 1e3 * rms(along), remark=remark),
            Row("rmse of magnetic forces across m", "meV/µB", 1e3 * rms(across), remark="cones"),
            Row("rmse of stresses", "GPa", rms(stress) / GPa, remark=remark),
        ]
    )


def equation_of_state(data: Iron) -> Study:
    """Lattice constant and bulk modulus, and energy against volume."""
    grid = np.linspace(VOLUMES[0], VOLUMES[-1], 15)
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.subplots()
    fixed = np.array([data.energy(iron(a, MOMENT)) for a in grid])
    axes.plot(grid, 1e3 * (fixed - fixed.min()), "C0", label=f"model, |m| = {MOMENT} µB")
    rows = eos_rows(grid, fixed, f"|m| = {MOMENT} µB")
    there = [a for a in VOLUMES if f"volume {a:.2f}" in data.frames]
    if len(there) > 5:
        direct = np.array([data.direct_energy(f"volume {a:.2f}") for a in there])
        shift = np.mean([data.energy(iron(a, MOMENT)) for a in there]) - direct.mean()
        axes.plot(there, 1e3 * (direct + shift - fixed.min()), "C0o", label="direct, common shift removed")
        rows += eos_rows(np.array(there), direct, f"|m| = {MOMENT} µB, direct")
    beside = ("2.8665 (exp.), 2.75 (LSDA)", "168-172 (exp.), 240 (LSDA)")
    try:
        lengths = [data.equilibrium_moment(a) for a in grid]
        relaxed = np.array([data.energy(iron(a, m)) for a, m in zip(grid, lengths, strict=True)])
        axes.plot(grid, 1e3 * (relaxed - fixed.min()), "C1", label="model, |m| relaxed")
        rows += eos_rows(grid, relaxed, "|m| relaxed", beside)
    except InputError as problem:
        rows.append(Row("lattice constant, |m| relaxed", "Å", np.nan, beside=beside[0], remark=str(problem)))
    axes.set(xlabel="lattice constant (Å)", ylabel="energy above the lowest (meV/atom)")
    axes.legend()
    return Study(rows, figure)


def eos_rows(a: Array, energy: Array, what: str, beside: tuple[str, str] = ("", "")) -> list[Row]:
    """Lattice constant and bulk modulus: cubic in V^(-1/3); errors: what leaving out both ends changes.

    Parameters
    ----------
    a, energy
        Lattice constants in increasing order, Å, and energies, eV per atom.
    what, beside
        For the names of the rows, and what stands beside the two numbers.
    """
    found = []
    for part in (slice(None), slice(1, -1)):
        fit = EquationOfState(a[part] ** 3 / 2, energy[part] - energy.min())
        try:
            volume, _, modulus = fit.fit(warn=False)
        except ValueError:  # ASE: no minimum
            volume = modulus = np.inf
        found.append(((2 * volume) ** (1 / 3), modulus / GPa))
    (edge, modulus), (other, softer) = found
    if not a[0] <= edge <= a[-1]:
        remark = f"no minimum of the energy between a = {a[0]:.2f} and {a[-1]:.2f} Å"
        return [Row(f"lattice constant, {what}", "Å", np.nan, beside=beside[0], remark=remark)]
    return [
        Row(f"lattice constant, {what}", "Å", edge, abs(edge - other), beside[0]),
        Row(f"bulk modulus, {what}", "GPa", modulus, abs(modulus - softer), beside[1], "error: ends left out"),
    ]


def moment_curve(data: Iron) -> Study:
    """Energy of the ferromagnet against |m|."""
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.subplots()
    grid = np.linspace(MOMENTS[0] - 0.1, MOMENTS[-1], 31)
    zero = data.energy(iron(LATTICE_CONSTANT, MOMENT))
    axes.plot(grid, [1e3 * (data.energy(iron(LATTICE_CONSTANT, m)) - zero) for m in grid], label="model")
    there = [m for m in MOMENTS if f"moment {m}" in data.frames]
    beside = ""
    if len(there) > 3 and MOMENT in there:
        reference = data.direct_energy(f"moment {MOMENT}")
        axes.plot(there, [1e3 * (data.direct_energy(f"moment {m}") - reference) for m in there], "o", label="direct")
        labels = [data.frames[f"moment {m}"].labels.magnetic_forces for m in there]
        roots = CubicSpline(there, [float(field[0, 2]) for field in labels if field is not None]).roots(False, False)
        beside = f"{roots[np.abs(roots - MOMENT).argmin()]:.3f} (direct)" if len(roots) else "none (direct)"
    axes.set(xlabel="|m| (µB)", ylabel=f"energy relative to {MOMENT} µB (meV/atom)")
    axes.legend()
    name = f"equilibrium |m| at {LATTICE_CONSTANT} Å"
    try:
        row = Row(name, "µB", data.equilibrium_moment(LATTICE_CONSTANT), beside=beside)
    except InputError as problem:
        row = Row(name, "µB", np.nan, beside=beside, remark=str(problem))
    return Study([row], figure)


def spin_spirals(data: Iron) -> Study:
    """E(q) - E(0) of flat spirals and A of cones, with direct points from equal cells and k-points."""
    rows = []
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.subplots()
    for side, line in ((-1, "G-H"), (1, "G-N")):
        values = [1e3 * spiral_energy(data, line, fraction) for fraction in _CURVE]
        axes.plot(side * np.array([0.0, *map(float, _CURVE)]), [0.0, *values], "C0")
        rows += [cone_row(data, line, angle) for angle in CONE_ANGLES]
        for fraction in FRACTIONS:
            direct = [data.direct_energy(f"{order} {line} {fraction}") for order in ("spiral", "ferromagnet")]
            difference = 1e3 * (direct[0] - direct[1])
            axes.plot(side * float(fraction), difference, "C3o")  # nothing if there is no such point
            name = f"spiral {fraction} of {line}" + (", AFM" if line == "G-H" and fraction == 1 else "")
            beside = f"{difference:.1f} (direct)" if np.isfinite(difference) else ""
            rows.append(Row(name, "meV/atom", 1e3 * spiral_energy(data, line, fraction), beside=beside))
    same = [data.direct_energy(name) for name in data.frames if name.startswith((f"moment {MOMENT}", "ferromagnet"))]
    if len(same) > 1:
        remark = "direct FM energies of one structure in several cells: what k-points leave"
        rows.append(Row("scatter between cells", "meV/atom", 1e3 * float(np.std(same)), remark=remark))
    axes.axvline(0.0, color="0.8", lw=0.8)
    axes.set_xticks([-1, 0, 1], ["H", "Γ", "N"])
    axes.set(xlabel="wavevector", ylabel="E(q) - E(0) (meV/atom)", title=f"a = {LATTICE_CONSTANT} Å, |m| = {MOMENT} µB")
    return Study(rows, figure)


def cone_row(data: Iron, line: str, angle: int) -> Row:
    """How strongly a conical spiral at the end of a line resists opening.

    Of a bilinear magnet E(θ) - E(0) = A sin²θ with A = E(q) - E(0) of the flat spiral, so dE/dθ / sin 2θ is A at all
    angles θ; at small ones it is what exchange constants say. Labels of forces have less noise from k-points than
    differences of energies.
    """
    name = f"A of a cone of {angle}° at {line[-1]}"
    structure = cone_cell(line, angle)
    value = cone_amplitude(structure, data.calc.get_property("magnetic_forces", structure), angle)
    frame = data.frames.get(f"cone {line} {angle}")
    labels = None if frame is None else frame.labels.magnetic_forces
    beside = "" if labels is None else f"{cone_amplitude(structure, labels, angle):.1f} (direct)"
    return Row(name, "meV/atom", value, beside=beside, remark="dE/dθ / sin 2θ")


def spiral_energy(data: Iron, line: str, fraction: Fraction) -> float:
    """E(q) - E(0), eV per atom."""
    return data.energy(spiral_cell(line, fraction)) - data.energy(iron(LATTICE_CONSTANT, MOMENT))


def rms(values: ArrayLike) -> float:
    """Root mean square; NaN of nothing."""
    array = np.asarray(values, dtype=float)
    return float(np.sqrt(np.mean(array**2))) if array.size else float("nan")
