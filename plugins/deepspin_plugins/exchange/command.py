"""What ``deepspin exchange`` does with its options."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from deepspin_ase.errors import InputError
from deepspin_ase.structure_file import read_structure

if TYPE_CHECKING:
    from ase import Atoms

    from deepspin_plugins.exchange.hessian import Method
    from deepspin_plugins.exchange.result import ExchangeResult


@dataclass(frozen=True)
class Job:
    """Options of the command, parsed."""

    structure: Path
    model: str
    cutoff: float
    supercell: Any
    moments: dict[str, float]
    index: int
    symmetrise: bool
    converge: bool
    method: str
    write: tuple[str, ...]
    output: Path | None
    device: str


def run(job: Job) -> str:
    """Do the job; the text is what the command prints."""
    import deepspin_ase
    from deepspin_plugins.exchange.formats import NAMES
    from deepspin_plugins.exchange.tensors import exchange_tensors

    unknown = [name for name in job.write if name not in NAMES]
    if unknown or (job.write and job.output is None):
        raise InputError(f"--write {','.join(job.write)}; allowed: {', '.join(NAMES)}, together with --output FOLDER.")
    atoms = read_structure(job.structure, job.index)
    if job.moments:
        deepspin_ase.set_moments(atoms, deepspin_ase.ferromagnet(atoms, job.moments))
    calc = deepspin_ase.DeepSpin(job.model, device=job.device)
    options: dict[str, Any] = {"cutoff": job.cutoff, "symmetrise": job.symmetrise, "method": cast("Method", job.method)}
    result = exchange_tensors(atoms, calc, supercell=job.supercell, **options)
    text = result.table()
    if job.converge:
        text += "\n" + supercell_check(atoms, calc, result, **options)
    if job.output is not None:
        text += "\nwritten: " + ", ".join(_write(job, result, text))
    return text


def supercell_check(atoms: Atoms, calc: Any, result: ExchangeResult, **options: Any) -> str:
    """Repeat a calculation in the supercell for a cutoff 1.4 times as long, and say how much the shells change."""
    from deepspin_plugins.exchange.supercell import make_supercell
    from deepspin_plugins.exchange.tensors import exchange_tensors

    larger = make_supercell(atoms, "auto", 1.4 * max(result.cutoff, _half_period(result))).matrix
    again = exchange_tensors(atoms, calc, supercell=larger, spin_orbit=result.spin_orbit, **options)
    change = np.abs(again.isotropic - result.isotropic).max(initial=0.0)
    copies = round(float(np.linalg.det(larger)))
    return f"in a supercell of {copies} cells no J changes by more than {1e3 * change:.4f} meV"


def _half_period(result: ExchangeResult) -> float:
    """Half the shortest period of the supercell that was used, Å."""
    from ase import Atoms

    from deepspin_plugins.exchange.supercell import shortest_period

    return shortest_period(Atoms(cell=result.supercell @ result.cell, pbc=result.pbc)) / 2


def _write(job: Job, result: ExchangeResult, text: str) -> list[str]:
    """Write everything into the folder; names of what was written."""
    from importlib import import_module

    from matplotlib.figure import Figure

    assert job.output is not None
    folder = job.output
    folder.mkdir(parents=True, exist_ok=True)
    model = result.to_model()
    result.save(folder / "exchange.npz")
    model.save(folder / "model.npz")
    (folder / "exchange.txt").write_text(text + "\n", encoding="utf-8")
    (folder / "exchange.json").write_text(json.dumps(summary(result, job.model), indent=2) + "\n", encoding="utf-8")
    figure = Figure(figsize=(6, 4), layout="constrained")
    result.plot(figure.subplots())
    figure.savefig(folder / "exchange.png", dpi=150)
    written = ["exchange.npz", "model.npz", "exchange.txt", "exchange.json", "exchange.png"]
    targets = {"tb2j": "exchange.out", "uppasd": "uppasd", "vampire": "exchange.ucf", "spirit": "spirit.cfg"}
    for name in job.write:
        module = import_module(f"deepspin_plugins.exchange.formats.{name}")
        arguments = () if name == "spirit" else (result.moments,)  # Spirit's input has no directions
        getattr(module, f"write_{name}")(folder / targets[name], model, *arguments)
        written.append(targets[name])
    return [str(folder / name) for name in written]


def summary(result: ExchangeResult, model: str) -> dict[str, Any]:
    """Shells, anisotropy and settings as plain numbers with their units in the names."""
    shells = []
    for shell in result.shells():
        values = asdict(shell)
        names = ("exchange", "spread", "dmi", "symmetric", "error")
        energies = {f"{name}_meV": 1e3 * values.pop(name) for name in names}
        shells.append({"species": values["species"], "distance_A": values["distance"]})
        shells[-1] |= {"multiplicity": values["multiplicity"], **energies}
    return {
        "convention": "E = -1/2 sum_{i!=j} e_i J_ij e_j - sum_i e_i K_i e_i, unit vectors, J > 0 ferromagnetic",
        "model": model,
        "method": result.method,
        "spin_orbit": result.spin_orbit,
        "cutoff_A": result.cutoff,
        "supercell": result.supercell.tolist(),
        "largest_exchange_left_out_meV": 1e3 * result.beyond,
        "shells": shells,
        "anisotropy_meV": (1e3 * result.anisotropy).tolist(),
    }
