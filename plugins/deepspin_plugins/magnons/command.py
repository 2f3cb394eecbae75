"""What ``deepspin magnons`` does, from a structure to a folder of tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from ase.optimize import FIRE
from matplotlib.figure import Figure
from numpy.typing import NDArray

import deepspin_ase
from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import HeisenbergModel
from deepspin_ase.moments import ferromagnet, get_moments, set_moments
from deepspin_ase.stored_result import StoredResult
from deepspin_ase.structure_file import read_structure
from deepspin_plugins.exchange import exchange_tensors
from deepspin_plugins.magnons.bands import MagnonBands, MagnonDos, band_structure, density_of_states
from deepspin_plugins.magnons.correlations import spin_correlations
from deepspin_plugins.magnons.ground_state import relax_directions
from deepspin_plugins.magnons.hybrid import HybridWaves, hybrid_bands, hybrid_waves
from deepspin_plugins.magnons.lswt import SpinWaves
from deepspin_plugins.magnons.ordering import ordering_temperatures
from deepspin_plugins.magnons.potential import spin_waves_from_potential
from deepspin_plugins.magnons.qpoints import q_path
from deepspin_plugins.magnons.stiffness import spin_wave_velocity, stiffness_tensor


@dataclass(frozen=True)
class Job:
    """Options of the command line; see ``plugin.py``."""

    structure: Path
    model: str
    spin_model: Path | None
    moments: Mapping[str, float]
    index: int
    cutoff: float
    exchange: bool
    relax: bool
    path: str | None
    mesh: int
    ions: Mapping[str, int] | None
    temperature: float
    phonons: bool
    output: Path
    device: str


def run(job: Job) -> str:
    """Calculate and write everything; returns the text for the screen."""
    atoms = _read(job)
    path = q_path(atoms, job.path)
    waves, spin_model, hybrid = _spin_waves(atoms, job)
    bands = band_structure(waves, path)
    dos = density_of_states(waves, job.mesh)
    spectrum = spin_correlations(waves, path, temperature=job.temperature, ions=job.ions).spectrum()
    summary = summarise(waves, bands) | _temperatures(spin_model, atoms)
    folder = job.output
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, StoredResult] = {"bands": bands, "dos": dos, "spectrum": spectrum}
    if hybrid is not None:
        results["hybrid"] = hybrid_bands(hybrid, path)
    for name, result in results.items():
        result.save(folder / f"{name}.npz")
        figure = Figure(figsize=(6.0, 4.2), layout="constrained")
        result.plot(figure.subplots())
        figure.savefig(folder / f"{name}.png", dpi=200)
    _write_tables(folder, bands, dos)
    with (folder / "summary.yaml").open("w", encoding="utf-8") as stream:
        yaml.safe_dump(summary, stream, sort_keys=False, allow_unicode=True)
    lines = [f"{name:34s} {_text(value)}" for name, value in summary.items()]
    return "\n".join([*lines, f"tables and pictures are in {folder}"])


def summarise(waves: SpinWaves, bands: MagnonBands) -> dict[str, Any]:
    """Numbers that describe the spectrum, with units in their names."""
    gap = waves.energies((0, 0, 0))[0]
    summary: dict[str, Any] = {
        "magnetic sites": len(waves),
        "highest magnon on the path (meV)": float(bands.energies.max()),
        "energies at Γ (meV)": [round(float(x), 6) for x in gap],
        "special points": {
            label: [round(float(x), 4) for x in bands.at(label)] for label in bands.labels if "|" not in label
        },
    }
    try:
        stiffness = stiffness_tensor(waves)
        summary["stiffness D, mean (meV Å²)"] = round(stiffness.mean, 2)
        summary["error of D (meV Å²)"] = round(stiffness.mean_error, 2)
    except InputError:
        slopes = {axis: spin_wave_velocity(waves, axis) for axis, p in zip("xyz", waves.pbc, strict=True) if p}
        summary["spin-wave velocities (meV Å)"] = {
            axis: [round(float(x), 2) for x in slope if np.isfinite(x)] for axis, slope in slopes.items()
        }
    return summary


def _spin_waves(atoms: Atoms, job: Job) -> tuple[SpinWaves, HeisenbergModel | None, HybridWaves | None]:
    if job.spin_model is not None:
        model = HeisenbergModel.load(job.spin_model).on(atoms)
        moments = relax_directions(model, get_moments(atoms)) if job.relax else get_moments(atoms)
        return SpinWaves.from_model(model, moments), model, None
    atoms.calc = deepspin_ase.DeepSpin(job.model, device=job.device)
    if job.relax:
        _relax(atoms)
    hybrid = hybrid_waves(atoms, cutoff=job.cutoff) if job.phonons else None
    if job.exchange:
        model = exchange_tensors(atoms, cutoff=job.cutoff).to_model()
        moments = relax_directions(model, get_moments(atoms)) if job.relax else get_moments(atoms)
        return SpinWaves.from_model(model, moments, tolerance=1e-4), model, hybrid
    waves = spin_waves_from_potential(atoms, cutoff=job.cutoff) if hybrid is None else hybrid.waves
    return waves, None, hybrid


def _relax(atoms: Atoms) -> None:
    moments_filter = deepspin_ase.SpinLatticeFilter(atoms, lattice=False)
    if not FIRE(moments_filter, logfile=None).run(fmax=1e-4, steps=500):
        raise InputError(
            "the directions of the moments did not relax within 500 steps; start closer to the ground state."
        )


def _temperatures(model: HeisenbergModel | None, atoms: Atoms) -> dict[str, Any]:
    if model is None or not model.pbc.all():
        return {}
    try:
        found = ordering_temperatures(model, get_moments(atoms))
    except InputError as problem:  # not collinear: Monte Carlo is the way
        return {"ordering temperature": str(problem)}
    return {
        "mean-field temperature (K)": round(found.mean_field, 1),
        "RPA temperature (K)": round(found.rpa, 1),
        "error of the RPA temperature (K)": round(found.rpa_error, 1),
    }


def _write_tables(folder: Path, bands: MagnonBands, dos: MagnonDos) -> None:
    modes = [f"magnon {n + 1} (meV)" for n in range(bands.energies.shape[1])]
    _table(
        folder / "bands.csv",
        ["distance (1/Å)", "q1", "q2", "q3", *modes],
        np.column_stack([bands.distance, bands.q, bands.energies]),
    )
    _table(
        folder / "dos.csv",
        ["energy (meV)", "states per meV and cell", "error"],
        np.column_stack([dos.energy, dos.density, dos.error]),
    )


def _table(path: Path, header: list[str], columns: NDArray[np.float64]) -> None:
    np.savetxt(path, columns, fmt="%.8g", delimiter=",", header=",".join(header), comments="", encoding="utf-8")


def _read(job: Job) -> Atoms:
    atoms = read_structure(job.structure, job.index)
    if job.moments:
        set_moments(atoms, ferromagnet(atoms, job.moments))
    if not get_moments(atoms).any():
        raise InputError("the structure carries no moments; give a file with moments, or --moments Fe=2.2,O=0.")
    return atoms


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {' '.join(f'{x:.3f}' for x in row)}" for key, row in value.items())
    if isinstance(value, list):
        return " ".join(f"{x:.4f}" for x in value)
    return f"{value:.4f}" if isinstance(value, float) else str(value)
