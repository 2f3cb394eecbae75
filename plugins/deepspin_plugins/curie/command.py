"""What ``deepspin curie`` does, from a structure to a folder of results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from math import ceil, lcm
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

import deepspin_ase
from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import HeisenbergModel
from deepspin_ase.moments import ferromagnet, get_moments, set_moments
from deepspin_ase.structure_file import read_structure
from deepspin_ase.vectors import Array
from deepspin_plugins.curie.direct_driver import direct_ordering_temperature
from deepspin_plugins.curie.driver import ordering_temperature
from deepspin_plugins.curie.order import find_order
from deepspin_plugins.curie.result import CurieResult
from deepspin_plugins.exchange import ExchangeResult, exchange_tensors

_SWEEPS, _DIRECT_SWEEPS = 8000, 1000
_DIRECT_SITES = 10
_AROUND = np.linspace(0.8, 1.2, 7)  # of T_c by the exchange route
_FREE = ("accuracy", "spin", "output", "device")  # options that may change when a run is continued


@dataclass(frozen=True)
class Job:
    """Options of the command line; see ``plugin.py``."""

    structure: Path | None
    model: str
    exchange: Path | None
    moments: Mapping[str, float]
    index: int
    cutoff: float
    sizes: tuple[int, ...]
    accuracy: float
    sweeps: int | None
    temperatures: tuple[float, ...]
    direct: bool
    lattice: bool
    spin: float
    seed: int
    output: Path
    device: str


def run(job: Job) -> str:
    """Calculate and write everything; returns the text for the screen."""
    _check(job)
    folder = job.output
    result = _direct(job) if job.direct else _exchange(job)
    result.save(folder / "result.npz")
    result.to_json(folder / "result.json")
    write_table(folder / "curves.csv", result)
    result.figure().savefig(folder / "curie.png", dpi=150)
    lines = [result.summary()]
    if job.spin:
        corrected, error = result.spin_corrected(job.spin)
        lines.append(f"times (S+1)/S with S = {job.spin:g}, a mean-field estimate: {corrected:.1f} ± {error:.1f} K")
    return "\n".join([*lines, f"results and pictures are in {folder}"])


def write_table(path: Path, result: CurieResult) -> None:
    """Write the curves as comma-separated columns with units in the header."""
    names = {
        "order_parameter": "order parameter",
        "susceptibility": "susceptibility (µB/T per site)",
        "heat_capacity": "heat capacity (k_B per site)",
        "binder": "Binder cumulant",
        "energy": "energy (meV per site)",
    }
    columns: list[Array] = [result.size, result.sites, result.temperature]
    header = ["L", "magnetic sites", "temperature (K)"]
    curves = [(label, getattr(result, name)) for name, label in names.items()]
    curves += [(name, part) for name, part in zip(result.part_names, result.parts, strict=True)]
    for label, values in curves:
        header += [label, f"error of {label}"]
        columns += [*values]
    text = ",".join(header)
    np.savetxt(path, np.column_stack(columns), fmt="%.8g", delimiter=",", header=text, comments="", encoding="utf-8")


def _check(job: Job) -> None:
    if bool(job.model) == (job.exchange is not None):
        raise InputError("give either --model (a potential, with a structure) or --exchange (a file).")
    if job.model and job.structure is None:
        raise InputError("--model needs a structure: deepspin curie STRUCTURE --model ...")
    if job.exchange is not None and (job.direct or job.structure is not None):
        raise InputError("--exchange is a complete spin model: leave out the structure and --direct.")
    if job.lattice and not job.direct:
        raise InputError("--lattice moves atoms in the potential, so it needs --direct.")


def _exchange(job: Job) -> CurieResult:
    return ordering_temperature(
        _model(job, None if job.exchange is not None else _atoms(job)),
        sizes=job.sizes or None,
        temperatures=_grid(job),
        accuracy=job.accuracy,
        sweeps=job.sweeps or _SWEEPS,
        seed=job.seed,
        checkpoint=job.output / "restart",
    )


def _direct(job: Job) -> CurieResult:
    """The potential itself; the exchange model gives the order parameter and, unless told, the temperatures."""
    atoms = _atoms(job)
    model = _model(job, atoms)
    grid = _grid(job)
    if grid is None:
        rough = ordering_temperature(model, accuracy=0.02, sweeps=1000, seed=job.seed)
        grid = rough.tc * _AROUND
    sizes = job.sizes or direct_sizes(model)
    return direct_ordering_temperature(
        [atoms.repeat(size) for size in sizes],
        grid,
        calc=deepspin_ase.DeepSpin(job.model, device=job.device),
        model=model,
        lattice=job.lattice,
        sweeps=job.sweeps or _DIRECT_SWEEPS,
        seed=job.seed,
        checkpoint=job.output / "restart",
    )


def direct_sizes(model: HeisenbergModel) -> tuple[int, int]:
    """The two smallest repeats that hold the order, from ten magnetic atoms on."""
    step = lcm(*find_order(model).period)
    first = step * max(1, ceil((_DIRECT_SITES / np.count_nonzero(model.magnitudes)) ** (1 / 3) / step))
    return first, first + step


def _model(job: Job, atoms: Atoms | None) -> HeisenbergModel:
    """Spin model of this job, bit for bit that of an earlier part of it."""
    model = None if job.exchange is None else _load_exchange(job.exchange)
    known = job.output / "model.npz"
    if _continued(job) and known.is_file():
        return HeisenbergModel.load(known)
    if model is None:
        assert atoms is not None
        found = exchange_tensors(atoms, deepspin_ase.DeepSpin(job.model, device=job.device), cutoff=job.cutoff)
        found.save(job.output / "exchange.npz")
        model = found.to_model()
    model.save(known)
    return model


def _continued(job: Job) -> bool:
    """Whether the folder holds an earlier part of this very job; that of another one is cleared."""
    files = [job.structure, job.exchange, Path(job.model)]
    contents = [sha256(path.read_bytes()).hexdigest() for path in files if path is not None and path.is_file()]
    options = {name: value for name, value in asdict(job).items() if name not in _FREE}
    identity = json.dumps([options, contents], default=str, sort_keys=True)
    folder = job.output / "restart"
    mark = folder / "job.json"
    if mark.is_file() and mark.read_text(encoding="utf-8") == identity:
        return True
    for stale in folder.glob("*.npz"):
        stale.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(identity, encoding="utf-8")
    return False


def _load_exchange(path: Path) -> HeisenbergModel:
    """Spin model in a file of either kind."""
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    for load in (lambda: ExchangeResult.load(path).to_model(), lambda: HeisenbergModel.load(path)):
        with suppress(Exception):  # whatever numpy says about a file that is none of ours
            return load()
    raise InputError(f"{path} was written by neither ExchangeResult.save nor HeisenbergModel.save.")


def _atoms(job: Job) -> Atoms:
    assert job.structure is not None
    atoms = read_structure(job.structure, job.index)
    if job.moments:
        set_moments(atoms, ferromagnet(atoms, job.moments))
    if not get_moments(atoms).any():
        raise InputError("the structure carries no moments; give a file with moments, or --moments Fe=2.2,O=0.")
    return atoms


def _grid(job: Job) -> Any:
    if not job.temperatures:
        return None
    low, high, count = job.temperatures
    return np.linspace(low, high, int(count))
