"""The ASE calculator: one of the two doors between ASE and torch."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import all_changes
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.graph import GraphCache, build_graph
from deepspin_ase.magnetic_calculator import MagneticCalculator
from deepspin_ase.model.checkpoint import load_checkpoint
from deepspin_ase.model.evaluator import Evaluator, Results
from deepspin_ase.model.hessian import Kind, hessian
from deepspin_ase.model.potential import Potential
from deepspin_ase.model.zoo import model_path
from deepspin_ase.moments import get_moments
from deepspin_ase.quantities import MAGNETIC_FORCES
from deepspin_ase.structure_checks import check_structure, missing_moments

Model = str | Path
Precision = Literal["float32", "float64"]


class DeepSpin(MagneticCalculator):
    """Energy, forces, stress, magnetic forces and torques from a spin network.

    Parameters
    ----------
    model
        Name of a shipped model (``deepspin models`` lists them), path of a checkpoint, or a sequence of those: a
        committee, whose mean is the result and whose spread :meth:`get_uncertainty` gives.
    device
        ``"auto"`` (CUDA if there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
    dtype
        ``"float64"`` (default) or ``"float32"``: about twice as fast, energies to about 1e-6 eV per atom.
    spin_orbit
        ``False`` switches the spin-orbit terms of a model off; ``None`` leaves the model as it was trained.
    compile
        Compile the model for this machine: one to two minutes at the first use, then from a cache on disk; the results
        are the same to round-off. Needs a C++ compiler; without one a log line says so and nothing else changes.
    skin
        Skin of the neighbour list in Å; the list is searched again after an atom has moved by half of it.

    Raises
    ------
    InputError
        Unknown model, device or dtype, a file that is no checkpoint, members of a committee that do not fit together.

    Notes
    -----
    Moments are read from ``atoms.get_initial_magnetic_moments()`` (µB; (n,) = along z, or (n, 3)): see
    :func:`deepspin_ase.set_moments`. A structure without any means zero moments, with a warning if the model has
    magnetic species. Units and signs: ``docs/quantities.md``.

    Examples
    --------
    >>> atoms.calc = DeepSpin("nio")
    >>> atoms.get_potential_energy(), atoms.calc.get_magnetic_torques(atoms)
    """

    def __init__(
        self,
        model: Model | Sequence[Model],
        *,
        device: str = "auto",
        dtype: Precision = "float64",
        spin_orbit: bool | None = None,
        compile: bool = False,
        skin: float = 0.5,
    ) -> None:
        names = [model] if isinstance(model, str | Path) else list(model)
        if not names:
            raise InputError("a committee needs at least one model")
        where, precision = _device(device), _dtype(dtype)
        loaded = [load_checkpoint(model_path(name), device=where, dtype=precision) for name in names]
        self._setup([potential for potential, _ in loaded], spin_orbit=spin_orbit, compile=compile, skin=skin)
        self.cards: tuple[dict[str, Any], ...] = tuple(card for _, card in loaded)
        self.parameters.update(model=[str(name) for name in names], device=str(where), dtype=dtype)

    @classmethod
    def from_potential(cls, *potentials: Potential, skin: float = 0.5, compile: bool = False) -> DeepSpin:
        """Calculator of potentials in memory (several: a committee), with their device and dtype."""
        calc = cls.__new__(cls)
        calc._setup(potentials, spin_orbit=None, compile=compile, skin=skin)
        calc.cards = tuple({} for _ in potentials)
        return calc

    def _setup(self, potentials: Sequence[Potential], *, spin_orbit: bool | None, compile: bool, skin: float) -> None:
        MagneticCalculator.__init__(self)
        if not 0.0 <= skin <= 5.0:
            raise InputError(f"skin must lie between 0 and 5 Å, got {skin}")
        keys = {(p.config.species, p.config.magnetic, p.config.cutoff) for p in potentials}
        if len(keys) != 1:
            raise InputError(f"members of a committee must share species, magnetic species and cutoff, got {keys}")
        if spin_orbit is not None:
            for potential in potentials:
                try:
                    potential.network.switch_spin_orbit(spin_orbit)
                except ValueError as error:
                    raise InputError(str(error)) from error
        self.config = potentials[0].config
        self.skin = skin
        self._evaluator = Evaluator(potentials, compiled=compile)
        self._caches: list[GraphCache] = [GraphCache(self.config.cutoff, skin)]
        self._spread: Results = {}
        self._warned = False

    # ------------------------------------------------------------------ one structure

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """ASE's entry point; always computes everything (one backward pass gives all derivatives)."""
        super().calculate(atoms, properties, system_changes)
        current = self.atoms  # a copy of atoms, made by super()
        if current is None:
            raise InputError("the calculator needs a structure: atoms.calc = calc, or calc.calculate(atoms)")
        self._check(current)
        members = self._evaluator(self._caches[0](current))
        self.results, self._spread = _finish(members, current)

    def get_uncertainty(self, atoms: Atoms | None = None) -> Results:
        """Standard deviations over the committee (n - 1 in the denominator).

        Returns
        -------
        dict
            ``energy`` (), ``energies`` (n,), ``forces`` (n, 3), ``stress`` (6,), ``magnetic_forces`` (n, 3); eV, Å, µB.

        Raises
        ------
        InputError
            The calculator has a single model.
        """
        if len(self._evaluator.potentials) < 2:
            raise InputError("uncertainty needs a committee: DeepSpin([model_a, model_b, ...])")
        self.get_property(MAGNETIC_FORCES, atoms)
        return {key: value.copy() for key, value in self._spread.items()}

    def get_hessian(
        self,
        atoms: Atoms | None = None,
        *,
        kind: Kind = "positions",
        rows: Sequence[int] | None = None,
        memory: float = 1.0e9,
    ) -> NDArray[np.float64]:
        """Exact second derivatives of the energy, always in float64 (the mean over a committee).

        Parameters
        ----------
        atoms
            Structure; default the one of the last calculation.
        kind
            ``"positions"`` ∂²E/∂R∂R (eV/Å²), ``"moments"`` ∂²E/∂m∂m (eV/µB²), ``"mixed"`` ∂²E/∂R∂m (eV/(Å µB)).
        rows
            Atoms of the first index (of a supercell, those of one cell are enough); default all. The time goes with
            their number.
        memory
            Bound on the working memory in bytes, besides the result.

        Returns
        -------
        ndarray
            (rows, 3, n, 3). Force constants of phonopy's layout are ``H.transpose(0, 2, 1, 3)``.
        """
        allowed = ("positions", "moments", "mixed")
        if kind not in allowed:
            raise InputError(f"kind must be one of {allowed}, got {kind!r}")
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise InputError("get_hessian needs a structure: calc.get_hessian(atoms, kind=...)")
        if rows is not None and not (len(rows) and set(rows) <= set(range(len(atoms)))):
            raise InputError(f"rows = {list(rows)}; allowed: at least one number from 0 to {len(atoms) - 1}")
        self._check(atoms)
        graph = build_graph(atoms, self.config.cutoff)
        members = [hessian(p.as_float64(), graph, kind, rows=rows, memory=memory) for p in self._evaluator.potentials]
        return torch.stack(members).mean(0).cpu().numpy()

    # ------------------------------------------------------------------ many structures

    def evaluate_many(self, structures: Iterable[Atoms], *, max_edges: int = 100_000) -> list[dict[str, Any]]:
        """Evaluate structures in batches; each result equals that of a single evaluation to round-off.

        Parameters
        ----------
        structures
            Any number of structures, of any size.
        max_edges
            Neighbour pairs per batch (at least one structure); bounds the memory. The default needs about 0.8 GB in
            float32 and 1.7 GB in float64 with the shipped models.

        Returns
        -------
        list of dict
            One ``results`` dictionary per structure, with the keys of ``implemented_properties``. The calculator's own
            state (``calc.results``) is untouched.
        """
        results: list[dict[str, Any]] = []
        pending: list[tuple[Atoms, Any]] = []
        edges = 0
        for index, atoms in enumerate(structures):
            self._check(atoms)
            if index + 1 == len(self._caches):
                self._caches.append(GraphCache(self.config.cutoff, self.skin))
            graph = self._caches[index + 1](atoms)
            if pending and edges + graph.num_edges > max_edges:
                results += self._flush(pending)
                pending, edges = [], 0
            pending.append((atoms.copy(), graph))
            edges += graph.num_edges
        return results + self._flush(pending)

    def _flush(self, pending: list[tuple[Atoms, Any]]) -> list[dict[str, Any]]:
        if not pending:
            return []
        members = self._evaluator.many([graph for _, graph in pending])
        return [_finish([m[i] for m in members], atoms)[0] for i, (atoms, _) in enumerate(pending)]

    def _check(self, atoms: Atoms) -> None:
        check_structure(atoms, self.config.species)
        if not self._warned and (symbols := missing_moments(atoms, self.config.magnetic)):
            self._warned = True
            warnings.warn(
                f"the structure has no magnetic moments on {', '.join(symbols)}; evaluating the state of zero moments. "
                "Set them with deepspin_ase.set_moments(atoms, m).",
                stacklevel=4,
            )


def _finish(members: list[Results], atoms: Atoms) -> tuple[dict[str, Any], Results]:
    """ASE results and their spread from the results of the members."""
    mean: dict[str, Any] = {key: np.mean([m[key] for m in members], axis=0) for key in members[0]}
    spread = {}
    if len(members) > 1:
        spread = {key: np.std([m[key] for m in members], axis=0, ddof=1) for key in members[0]}
    mean["energy"] = mean["free_energy"] = float(mean["energy"])
    mean["magmoms"] = np.array(atoms.get_initial_magnetic_moments(), dtype=float)
    mean["magnetic_torques"] = np.cross(get_moments(atoms), mean["magnetic_forces"])
    if atoms.cell.rank < 3:
        del mean["stress"]  # no volume, no stress: ASE then raises PropertyNotImplementedError
    return mean, spread


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} is not available here ({error}); use 'auto', 'cpu' or 'cuda'") from error
    return device


def _dtype(name: str) -> torch.dtype:
    table = {"float32": torch.float32, "float64": torch.float64}
    if name not in table:
        raise InputError(f"dtype must be one of {sorted(table)}, got {name!r}")
    return table[name]
