"""What ``deepspin phonons`` does, from a structure to a folder of tables and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from matplotlib.figure import Figure
from numpy.typing import NDArray

import deepspin_ase
from deepspin_ase.errors import InputError
from deepspin_ase.moments import ferromagnet, get_moments, set_moments
from deepspin_ase.structure_file import read_structure
from deepspin_plugins.phonons import extras
from deepspin_plugins.phonons.bands import PhononBands, PhononDos
from deepspin_plugins.phonons.driver import phonons
from deepspin_plugins.phonons.elastic import elastic_constants
from deepspin_plugins.phonons.nac import without_born_charges
from deepspin_plugins.phonons.plots import draw_phonons
from deepspin_plugins.phonons.result import PhononResult
from deepspin_plugins.phonons.thermal import ThermalProperties

IMAGINARY = -0.05
"""THz; below this a mode is reported as imaginary, above it is round-off and interpolation near Γ."""


@dataclass(frozen=True)
class Job:
    """Options of the command line; see ``plugin.py``."""

    structure: Path
    model: str
    supercell: Any
    moments: Mapping[str, float]
    index: int
    method: Any
    distance: float
    state: Any
    relax: Any
    path: str | None
    mesh: int | None
    temperature: float
    born: str
    dielectric: float
    disorder: int
    qha: tuple[float, float] | None
    follow: bool
    output: Path
    workers: int
    device: str


def run(job: Job) -> str:
    """Calculate and write everything; returns the text for the screen."""
    atoms = read_structure(job.structure, job.index)
    if job.moments:
        set_moments(atoms, ferromagnet(atoms, job.moments))
    calc = deepspin_ase.DeepSpin(job.model, device=job.device)
    if not job.temperature > 0.0 or job.disorder < 0:
        raise InputError(f"temperature = {job.temperature} K, disorder = {job.disorder}; allowed: positive numbers.")
    folder = job.output
    folder.mkdir(parents=True, exist_ok=True)
    result = extras.with_born(_phonons(atoms, calc, job, job.state, job.relax), job.born, job.dielectric)
    result.save(folder / "phonopy.yaml")
    bands, dos = result.bands(job.path), result.dos(job.mesh)
    thermal = result.thermal(np.linspace(0.0, job.temperature, 101), job.mesh)
    named = {job.state: bands}
    if job.state != "frozen":
        frozen = _phonons(result.unitcell, calc, job, "frozen", "none")
        named["frozen"] = extras.with_born(frozen, job.born, job.dielectric).bands(job.path)
    _draw(folder, named, dos, thermal)
    _write_tables(folder, bands, dos, thermal)
    summary = summarise(result, bands, thermal, job.mesh) | _elasticity(result, calc)
    moved = np.linalg.norm(get_moments(result.unitcell) - get_moments(atoms), axis=1).max()
    summary["largest change of a moment by relaxing first (µB)"] = round(float(moved), 4)
    if job.state != "frozen":
        change = float(np.abs(bands.frequencies - named["frozen"].frequencies).max())
        summary["largest change against frozen moments (THz)"] = round(change, 4)
    summary |= _extras(result, calc, job)
    with (folder / "summary.yaml").open("w", encoding="utf-8") as stream:
        yaml.safe_dump(summary, stream, sort_keys=False, allow_unicode=True)
    lines = [f"{name:46s} {_text(value)}" for name, value in summary.items()]
    return "\n".join([*lines, f"phonopy.yaml, tables and pictures are in {folder}"])


def summarise(result: PhononResult, bands: PhononBands, thermal: ThermalProperties, mesh: int | None) -> dict[str, Any]:
    """Numbers that describe the phonons and how far they can be trusted, with units in their names."""
    lowest = min(result.lowest_frequency(mesh), float(bands.frequencies.min()))
    stable = lowest > IMAGINARY
    room = int(np.argmin(np.abs(thermal.temperature - 300.0)))
    return {
        "atoms in cell, primitive cell, supercell": [
            len(result.phonon.unitcell),
            len(result.phonon.primitive),
            len(result.phonon.supercell),
        ],
        "moments": result.state,
        "route": result.method,
        "largest residual force (eV/Å)": float(f"{result.residual_force:.2e}"),
        "acoustic sum rule before correction (eV/Å²)": float(f"{result.sum_rule_error:.2e}"),
        "symmetry operations of the supercell": len(result.phonon.symmetry.symmetry_operations["rotations"]),
        "lowest frequency, mesh and path (THz)": round(lowest, 4),
        "stable": "yes" if stable else "no: imaginary modes; --follow finds where they lead",
        "error by the size of the supercell, rms (THz)": float(f"{result.range_error(mesh):.1e}"),
        "highest frequency on the path (THz)": round(float(bands.frequencies.max()), 4),
        "frequencies at Γ (THz)": [round(float(f), 4) for f in result.frequencies((0, 0, 0))[0]],
        "special points (THz)": {
            label: [round(float(f), 4) for f in bands.at(label)] for label in bands.labels if "|" not in label
        },
        f"heat capacity at {thermal.temperature[room]:g} K (k_B per atom)": round(
            float(thermal.heat_capacity[room]), 4
        ),
        "error of the heat capacity, mesh (k_B per atom)": float(f"{thermal.errors[2, room]:.1e}"),
    }


def _phonons(atoms: Atoms, calc: Any, job: Job, state: Any, relax: Any) -> PhononResult:
    with _executor(job.workers) as executor:
        return phonons(
            atoms,
            calc,
            supercell=job.supercell,
            distance=job.distance,
            method=job.method,
            state=state,
            relax=relax,
            executor=executor,
            folder=job.output / "forces",
        )


def _executor(workers: int) -> AbstractContextManager[Executor | None]:
    """Processes, or none for a single one."""
    if workers < 1:
        raise InputError(f"workers = {workers}; allowed: 1 or more.")
    return nullcontext() if workers == 1 else ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def _extras(result: PhononResult, calc: Any, job: Job) -> dict[str, Any]:
    """What was asked for on top; a study that cannot be had says why, and the rest goes on."""
    how = {"supercell": job.supercell, "state": job.state, "method": job.method, "distance": job.distance}
    plain = without_born_charges(result)
    wanted: dict[str, Callable[[], dict[str, Any]]] = {}
    if job.born:
        wanted["polar modes"] = lambda: extras.polar_summary(result)
    if job.follow:
        wanted["imaginary modes"] = lambda: extras.add_lower_structure(job.output, plain, calc, state=job.state)
    if job.disorder:
        wanted["disorder"] = lambda: extras.add_disorder(
            job.output, plain, calc, states=job.disorder, distance=job.distance
        )
    if job.qha is not None:
        volumes = job.qha
        wanted["quasi-harmonic approximation"] = lambda: extras.add_quasiharmonic(
            job.output, plain, calc, volumes=volumes, temperature=job.temperature, **how
        )
    summary: dict[str, Any] = {}
    for name, study in wanted.items():
        try:
            summary |= study()
        except InputError as problem:
            summary[name] = f"left out: {problem}"
    return summary


def _elasticity(result: PhononResult, calc: Any) -> dict[str, Any]:
    """Elastic numbers from sound and from stress; they agree if supercell, model and cell are good enough."""
    sound = result.sound()
    stress = elastic_constants(result.unitcell, calc, state=result.state)  # type: ignore[arg-type]
    return {
        "Debye temperature, acoustic slopes (K)": round(sound.debye_temperature, 1),
        "Debye temperature, stress (K)": round(stress.debye_temperature, 1),
        "C11 C22 C33 C44 C55 C66, slopes (GPa)": [round(float(c), 1) for c in np.diag(sound.stiffness)],
        "C11 C22 C33 C44 C55 C66, stress (GPa)": [round(float(c), 1) for c in np.diag(stress.stiffness)],
        "bulk modulus, slopes and stress (GPa)": [round(sound.bulk_modulus, 1), round(stress.bulk_modulus, 1)],
        "error of the stiffness, slopes and stress (GPa)": [
            round(float(max(sound.error.max(), sound.misfit)), 2),
            round(float(stress.error.max()), 2),
        ],
        "residual stress (GPa)": round(float(np.abs(stress.stress).max()), 3),
    }


def _draw(folder: Path, named: Mapping[str, PhononBands], dos: PhononDos, thermal: ThermalProperties) -> None:
    draw_phonons(next(iter(named.values())) if len(named) == 1 else named, dos).savefig(folder / "phonons.png", dpi=200)
    figure = Figure(figsize=(6.0, 4.2), layout="constrained")
    thermal.plot(figure.subplots())
    figure.savefig(folder / "thermal.png", dpi=200)
    for name, result in (("bands", next(iter(named.values()))), ("dos", dos), ("thermal", thermal)):
        result.save(folder / f"{name}.npz")


def _write_tables(folder: Path, bands: PhononBands, dos: PhononDos, thermal: ThermalProperties) -> None:
    modes = [f"mode {n + 1} (THz)" for n in range(bands.frequencies.shape[1])]
    _table(
        folder / "bands.csv",
        ["distance (1/Å)", "q1", "q2", "q3", *modes],
        np.column_stack([bands.distance, bands.q, bands.frequencies]),
    )
    _table(
        folder / "dos.csv",
        ["frequency (THz)", "states per THz and cell", "error", *dos.species],
        np.column_stack([dos.frequency, dos.density, dos.error, dos.projected.T]),
    )
    names = ["free energy (eV/atom)", "entropy (k_B/atom)", "heat capacity (k_B/atom)"]
    _table(
        folder / "thermal.csv",
        ["temperature (K)", *names, *(f"error of {name}" for name in names)],
        np.column_stack(
            [thermal.temperature, thermal.free_energy, thermal.entropy, thermal.heat_capacity, thermal.errors.T]
        ),
    )


def _table(path: Path, header: list[str], columns: NDArray[np.float64]) -> None:
    np.savetxt(path, columns, fmt="%.8g", delimiter=",", header=",".join(header), comments="", encoding="utf-8")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {' '.join(f'{x:.3f}' for x in row)}" for key, row in value.items())
    return " ".join(str(x) for x in value) if isinstance(value, list) else str(value)
