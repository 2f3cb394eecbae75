"""What ``deepspin phonons`` adds on request: disorder, quasi-harmonic approximation, the way down an imaginary mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from deepspin_ase.band_path import QPath
from deepspin_ase.command_values import numbers_by_symbol
from deepspin_ase.errors import InputError
from deepspin_plugins.phonons.cells import SupercellLike
from deepspin_plugins.phonons.disorder import disordered_phonons
from deepspin_plugins.phonons.imaginary import follow_mode, imaginary_modes
from deepspin_plugins.phonons.nac import infrared_modes, read_born, with_born_charges
from deepspin_plugins.phonons.qha import quasiharmonic
from deepspin_plugins.phonons.result import PhononResult

_VOLUMES = 9


def with_born(result: PhononResult, born: str, dielectric: float) -> PhononResult:
    """Phonons with the field of LO modes, from ``--born``: nothing, a BORN file, or charges like Ni=2.2,O=-2.2."""
    if not born:
        return result
    if Path(born).is_file() or "=" not in born:
        return read_born(result, born)
    if not dielectric > 0.0:
        raise InputError(f"--born {born} needs the dielectric constant, too: --dielectric 5.7")
    return with_born_charges(result, numbers_by_symbol(born, "--born"), dielectric)


def polar_summary(result: PhononResult) -> dict[str, Any]:
    """TO modes that light moves, and LO modes along the three axes of space."""
    modes = [infrared_modes(result, axis) for axis in np.eye(3)]
    return {
        "infrared-active modes at Γ, transverse (THz)": [
            round(float(f), 4) for f in modes[0].transverse[modes[0].active]
        ],
        "highest modes along x, y, z at Γ (THz)": [round(float(m.longitudinal.max()), 4) for m in modes],
    }


def add_disorder(folder: Path, result: PhononResult, calc: Any, *, states: int, distance: float) -> dict[str, Any]:
    """Phonons averaged over random moments; writes disorder.npz, disorder_bands.npz and disorder.png.

    The supercell is one of the paramagnet, whose symmetry is higher than that of the ordered crystal.
    """
    cell = result.unitcell
    cell.calc = calc
    average = disordered_phonons(cell, states=states, distance=distance, folder=folder / "disorder_forces")
    average.save(folder / "disorder.npz")
    bands = average.bands()
    bands.save(folder / "disorder_bands.npz")
    figure = Figure(figsize=(6.0, 4.2), layout="constrained")
    axes = figure.subplots()
    bands.plot(axes, color="C3", label=f"{states} states of random moments")
    own = result.bands(_same_path(average.mean, result, bands))
    own.plot(axes, label="ordered")
    axes.legend(fontsize=8)
    figure.savefig(folder / "disorder.png", dpi=200)
    return {
        "random states of the moments": states,
        "highest frequency with disorder (THz)": round(float(bands.frequencies.max()), 4),
        "lowest frequency with disorder (THz)": round(float(bands.frequencies.min()), 4),
        "largest standard error with disorder (THz)": round(float(bands.errors.max()), 4),
        "force of disorder on resting atoms, rms (eV/Å)": float(f"{average.static_force:.3g}"),
    }


def add_quasiharmonic(
    folder: Path,
    result: PhononResult,
    calc: Any,
    *,
    volumes: tuple[float, float],
    temperature: float,
    supercell: SupercellLike,
    **options: Any,
) -> dict[str, Any]:
    """Thermal expansion and its company; writes quasiharmonic.npz, .csv and .png."""
    cell = result.unitcell
    cell.calc = calc
    found = quasiharmonic(
        cell,
        supercell=supercell,
        volume_ratios=np.linspace(*volumes, _VOLUMES),
        temperatures=np.linspace(0.0, temperature, 51),
        folder=folder / "forces",
        **options,
    )
    found.save(folder / "quasiharmonic.npz")
    found.draw().savefig(folder / "quasiharmonic.png", dpi=200)
    names = ("volume", "expansion", "bulk_modulus", "heat_capacity")
    header = ["temperature (K)"]
    for name, unit in zip(names, ("Å³/atom", "1/K", "GPa", "k_B/atom"), strict=True):
        header += [f"{name} ({unit})", f"error of {name}"]
    columns = [found.temperature, *(c for n in names for c in (getattr(found, n), getattr(found, f"{n}_error")))]
    np.savetxt(
        folder / "quasiharmonic.csv",
        np.column_stack(columns),
        fmt="%.8g",
        delimiter=",",
        header=",".join(header),
        comments="",
        encoding="utf-8",
    )
    room = int(np.argmin(np.abs(found.temperature - 300.0)))
    kelvin = f"{found.temperature[room]:g} K"
    return {
        f"volume expansion at {kelvin} (1e-6/K)": _with_error(1e6 * found.expansion, 1e6 * found.expansion_error, room),
        f"isothermal bulk modulus at {kelvin} (GPa)": _with_error(found.bulk_modulus, found.bulk_modulus_error, room),
        f"heat capacity c_p at {kelvin} (k_B per atom)": _with_error(
            found.heat_capacity, found.heat_capacity_error, room
        ),
    }


def add_lower_structure(folder: Path, result: PhononResult, calc: Any, *, state: Any) -> dict[str, Any]:
    """Follow the most unstable mode that can be followed; writes imaginary.npz, followed.npz, .png and .extxyz."""
    found = imaginary_modes(result)
    found.save(folder / "imaginary.npz")
    if not len(found):
        return {"imaginary modes": str(found)}
    mode = follow_mode(result, calc, found.q[0], int(found.band[0]), state=state)
    mode.save(folder / "followed.npz")
    figure = Figure(figsize=(6.0, 4.2), layout="constrained")
    mode.plot(figure.subplots())
    figure.savefig(folder / "followed.png", dpi=200)
    mode.to_atoms().write(folder / "followed.extxyz")
    return {
        "imaginary modes": str(found),
        "followed mode, frequency and curvature of the energy (THz)": [
            round(mode.frequency, 3),
            round(mode.curvature_frequency, 3),
        ],
        "energy gained by following it (meV per primitive cell)": round(1e3 * mode.energy_gain, 4),
        "largest force left (eV/Å)": float(f"{mode.residual_force:.2g}"),
    }


def _same_path(average: PhononResult, ordered: PhononResult, bands: Any) -> QPath:
    """The path of the paramagnet in the reciprocal cell of the ordered crystal: the same wavevectors."""
    waves = bands.q @ np.linalg.inv(average.phonon.primitive.cell).T
    return QPath(waves @ ordered.phonon.primitive.cell.T, bands.distance, bands.ticks, bands.labels)


def _with_error(values: Any, errors: Any, index: int) -> list[float]:
    return [float(f"{values[index]:.5g}"), float(f"{errors[index]:.2g}")]
