"""Forces of many displaced supercells, with the moments frozen or following, kept on disk so that nothing is lost."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from ase import Atoms
from ase.optimize import LBFGS

from deepspin_ase.errors import InputError
from deepspin_ase.filters import SpinLatticeFilter
from deepspin_ase.moments import get_moments
from deepspin_ase.progress import track
from deepspin_ase.quantities import FORCES, MAGNETIC_FORCES
from deepspin_ase.vectors import Array
from deepspin_ase.whole_file import whole_file

State = Literal["frozen", "directions", "relaxed"]
STATES: tuple[str, ...] = get_args(State)

MOMENT_FMAX = 1e-6
"""Moments count as relaxed below this; eV/Å in the rows of SpinLatticeFilter: 0.1 µeV/rad and 0.2 µeV/µB."""
_MOMENT_STEPS = 1000
_BLOCK = 16  # structures between two writes to disk


@dataclass(frozen=True)
class ForceRun:
    """How forces are calculated.

    Parameters
    ----------
    calc
        Calculator with forces; with magnetic forces unless the moments are frozen.
    state
        ``"frozen"``: moments stay as they are. ``"directions"``: they turn to where no torque acts. ``"relaxed"``:
        their lengths follow, too. Collinear (n,) moments can only change their lengths.
    executor
        Runs the structures; each worker gets a copy of the calculator. Default: batches through ``evaluate_many``
        where the calculator has it, else one after the other.
    folder
        Keeps finished forces, keyed by structure, state and the energy of the structure that is not displaced; a
        second run takes from it what is there.
    """

    calc: Any
    state: State = "frozen"
    executor: Executor | None = None
    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise InputError(f"state = {self.state!r}; allowed: {', '.join(STATES)}.")
        if self.calc is None:
            raise InputError("the structure has no calculator; set atoms.calc, or pass calc=.")
        known = getattr(self.calc, "implemented_properties", ())
        wanted = FORCES if self.state == "frozen" else MAGNETIC_FORCES
        if wanted not in known:
            raise InputError(
                f"{type(self.calc).__name__} gives no {wanted}, which state = {self.state!r} needs; "
                f"it gives {', '.join(known) or 'nothing'}."
            )

    def __call__(self, structures: Sequence[Atoms], reference: Atoms, description: str = "Displacements") -> Array:
        """Forces (k, n, 3), eV/Å, of structures that are ``reference``, displaced."""
        files: list[Path | None] = [None] * len(structures)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            mark = f"{self.state} {float(self.calc.get_potential_energy(reference.copy())):.6f}"
            files = [self.folder / f"{_key(atoms, mark)}.npy" for atoms in structures]
        results: list[Array | None] = [None if file is None else _load(file, len(reference)) for file in files]
        missing = [index for index, found in enumerate(results) if found is None]
        computed = self._compute([structures[index] for index in missing])
        for index, forces in zip(missing, track(computed, description, total=len(missing)), strict=True):
            if forces.shape != (len(reference), 3) or not np.isfinite(forces).all():
                raise InputError(f"forces of {type(self.calc).__name__} have shape {forces.shape} or are not finite.")
            results[index] = forces
            if (file := files[index]) is not None:
                with whole_file(file) as stream:
                    np.save(stream, forces)
        return np.array(results, dtype=float).reshape(len(structures), len(reference), 3)

    def _compute(self, structures: Sequence[Atoms]) -> Iterator[Array]:
        """Forces of one structure after the other, as they become available."""
        if self.executor is not None:
            yield from self.executor.map(partial(forces_of, self.calc, state=self.state), structures)
        elif self.state == "frozen" and hasattr(self.calc, "evaluate_many"):
            for start in range(0, len(structures), _BLOCK):
                yield from (np.array(r[FORCES]) for r in self.calc.evaluate_many(structures[start : start + _BLOCK]))
        else:
            yield from (forces_of(self.calc, atoms, state=self.state) for atoms in structures)


def forces_of(calc: Any, atoms: Atoms, *, state: State = "frozen") -> Array:
    """Forces of one structure, (n, 3), eV/Å, after its moments have followed; the structure is left as it is."""
    work = atoms.copy()
    work.calc = calc
    if state != "frozen":
        relax_moments(work, lengths=state == "relaxed")
    return np.array(work.get_forces(), dtype=float)


def relax_moments(atoms: Atoms, *, lengths: bool) -> None:
    """Relax the moments in place: directions of (n, 3) moments, and lengths if asked for.

    Raises
    ------
    InputError
        They do not converge.
    """
    if not get_moments(atoms).any():
        raise InputError("the structure carries no moments that could follow; use state='frozen', or set_moments().")
    vectors = atoms.arrays["initial_magmoms"].ndim == 2
    if not (vectors or lengths):
        return
    target: Any = SpinLatticeFilter(atoms, lattice=False, directions=vectors, magnitudes=lengths)
    optimizer: Any = LBFGS  # ASE types its arguments too narrowly
    if not optimizer(target, logfile=None, memory=30).run(fmax=MOMENT_FMAX, steps=_MOMENT_STEPS):
        raise InputError(
            f"the moments did not relax within {_MOMENT_STEPS} steps ({target.residuals()}); start from a stable "
            "state, or use state='frozen'."
        )


def displaced(supercell: Atoms, displacements: Iterable[Array]) -> list[Atoms]:
    """Copies of a supercell with displacements (n, 3), Å, added."""
    copies = []
    for shift in displacements:
        copies.append(supercell.copy())
        copies[-1].positions += shift
    return copies


def _key(atoms: Atoms, mark: str) -> str:
    digest = hashlib.sha256(mark.encode())
    for array in (atoms.numbers, atoms.positions.round(9), atoms.cell.array.round(9), get_moments(atoms).round(7)):
        digest.update(np.ascontiguousarray(array + 0).tobytes())
    return digest.hexdigest()[:24]


def _load(file: Path, atoms: int) -> Array | None:
    """Forces of an earlier run; None where there are none, or the file is damaged."""
    try:
        forces = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return np.asarray(forces, dtype=float) if forces.shape == (atoms, 3) else None
