"""Long-range forces of polar crystals: LO-TO splitting from Born charges that the user gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from ase import units
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import Array, as_finite, unit_vector
from deepspin_plugins.phonons.result import PhononResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NacMethod = Literal["gonze", "wang"]

_NEUTRAL = 0.3  # e per primitive cell; a larger sum of charges is no rounding


@dataclass(frozen=True, eq=False)
class InfraredModes(StoredResult):
    """Modes at Γ, what moves them by light, and where the macroscopic field shifts them.

    Attributes
    ----------
    transverse
        (3n,), THz, without the macroscopic field.
    strength
        (3n, 3), e²/u: squared mode charges |Σ_κβ Z*_κ,αβ e_κβ/√m_κ|² along x, y, z; zero for modes that light does not
        move. Of degenerate modes only the sum means something.
    direction
        (3,), unit vector in Cartesian coordinates, from which Γ is approached.
    longitudinal
        (3n,), THz, in that limit; LO modes are those that differ from ``transverse``.
    """

    transverse: Array
    strength: Array
    direction: Array
    longitudinal: Array

    @property
    def active(self) -> NDArray[np.bool_]:
        """(3n,), modes with more than a tenth of the largest strength."""
        total = self.strength.sum(axis=1)
        return np.asarray(total > 0.1 * total.max())

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the strengths over the transverse frequencies, and the limit along the direction."""
        ax = new_axes() if ax is None else ax
        ax.vlines(self.transverse, 0.0, self.strength.sum(axis=1), color="C0", label="transverse, strength")
        ax.plot(self.longitudinal, np.zeros_like(self.longitudinal), "C3|", ms=12, label="along the direction")
        ax.set_xlabel("frequency (THz)")
        ax.set_ylabel("mode charge squared (e²/u)")
        ax.legend()
        return ax


def infrared_modes(result: PhononResult, direction: ArrayLike = (1, 0, 0)) -> InfraredModes:
    """TO and LO modes at Γ of a crystal with Born charges.

    Parameters
    ----------
    result
        From :func:`with_born_charges` or :func:`read_born`.
    direction
        (3,), Cartesian, from which Γ is approached.

    Raises
    ------
    InputError
        The result has no Born charges.
    """
    phonon = result.phonon
    if phonon.nac_params is None:
        raise InputError("the phonons have no Born charges; use with_born_charges(result, charges, dielectric) first.")
    unit = unit_vector(direction, "direction")
    towards = phonon.primitive.cell @ unit  # fractions of the reciprocal cell
    frequency, vectors = result.modes((0, 0, 0))
    motion = vectors[0].reshape(len(phonon.primitive), 3, -1) / np.sqrt(phonon.primitive.masses)[:, None, None]
    charge = np.einsum("kab,kbn->na", phonon.nac_params["born"], motion)
    return InfraredModes(
        transverse=frequency[0],
        strength=np.abs(charge) ** 2,
        direction=unit,
        longitudinal=phonon.run_qpoints([[0, 0, 0]], nac_q_direction=towards).frequencies[0],
    )


def with_born_charges(
    result: PhononResult,
    charges: Mapping[str, ArrayLike] | ArrayLike,
    dielectric: ArrayLike,
    *,
    method: NacMethod = "gonze",
) -> PhononResult:
    """Phonons with the non-analytical term at q → 0: optical modes of polar crystals split into LO and TO.

    Potentials of short range, learned ones too, do not know the macroscopic field; force constants in a supercell hold
    the transverse branches. Charges and dielectric tensor come from a first-principles calculation or from experiment.

    Parameters
    ----------
    result
        Phonons of an insulator.
    charges
        Born effective charges in e: by species, ``{"Ni": 2.2, "O": -2.2}`` with numbers or (3, 3) tensors; or
        (n, 3, 3) for the atoms of ``result.primitive``. Z*_κ,αβ is the polarisation along α per displacement along β.
    dielectric
        High-frequency constant: a number or a (3, 3) tensor.
    method
        "gonze" (dipole-dipole sum by Ewald's method) or "wang" (interpolation).

    Returns
    -------
    PhononResult
        A new one; phonopy makes the charges symmetric, and their mean, a rounding error, is taken off. At Γ itself the
        frequencies are transverse; bands approach it along their direction.

    Raises
    ------
    InputError
        Wrong shapes, charges that do not add up to zero within 0.3 e, a dielectric tensor that is not positive.

    Notes
    -----
    X. Gonze and C. Lee, Phys. Rev. B 55, 10355 (1997); Y. Wang et al., J. Phys.: Condens. Matter 22, 202201 (2010).
    """
    if method not in get_args(NacMethod):
        raise InputError(f"method = {method!r}; allowed: {', '.join(get_args(NacMethod))}.")
    tensors = _charges(result, charges)
    constant = as_finite(dielectric, "dielectric")
    constant = float(constant) * np.eye(3) if constant.ndim == 0 else constant
    if constant.shape != (3, 3) or not np.allclose(constant, constant.T, atol=1e-3):
        raise InputError(f"dielectric has shape {constant.shape}; allowed: a number or a symmetric (3, 3) tensor.")
    if np.linalg.eigvalsh(constant).min() < 1.0:
        raise InputError(f"dielectric = {constant.tolist()}; its eigenvalues must be at least 1, that of vacuum.")
    excess = tensors.sum(axis=0)
    if np.abs(excess).max() > _NEUTRAL:
        raise InputError(
            f"the Born charges of the primitive cell add up to {np.abs(excess).max():.2f} e instead of zero; is the "
            f"order of atoms that of result.primitive ({result.primitive.symbols})?"
        )
    plain = without_born_charges(result)
    plain.phonon.nac_params = {
        "born": tensors - tensors.mean(axis=0),
        "dielectric": constant,
        "method": method,
        "factor": units.Hartree * units.Bohr,  # e²/4πε₀ in eV Å
    }
    return plain


def without_born_charges(result: PhononResult) -> PhononResult:
    """The same phonons in an object of their own, without the field of LO modes."""
    phonon = result.phonon.replicate()
    phonon.force_constants = result.phonon.force_constants
    return replace(result, phonon=phonon)


def read_born(result: PhononResult, path: str | Path) -> PhononResult:
    """Phonons with the non-analytical term from a BORN file of phonopy, for the primitive cell of the result.

    Raises
    ------
    InputError
        No such file, or one that phonopy cannot read for this cell.
    """
    from phonopy.file_IO import parse_BORN

    if not Path(path).is_file():
        raise InputError(f"There is no file {path}.")
    primitive = result.phonon.primitive
    try:
        found = parse_BORN(primitive, symprec=result.phonon.symmetry.tolerance, filename=str(path))
    except Exception as problem:  # phonopy raises whatever its parsing stumbled over
        count = len(np.unique(result.phonon.primitive_symmetry.get_map_atoms()))
        raise InputError(
            f"phonopy cannot read {path}: {type(problem).__name__}: {problem}. It must hold a comment, the dielectric "
            f"tensor, and one line of nine charges for each of the {count} independent atoms of {primitive.symbols}."
        ) from problem
    return with_born_charges(result, found["born"], found["dielectric"])


def _charges(result: PhononResult, charges: Mapping[str, ArrayLike] | ArrayLike) -> Array:
    symbols = result.phonon.primitive.symbols
    if not isinstance(charges, Mapping):
        tensors = as_finite(charges, "charges")
        if tensors.shape != (len(symbols), 3, 3):
            raise InputError(
                f"charges have shape {tensors.shape}; allowed: ({len(symbols)}, 3, 3) for the atoms {symbols} of "
                "result.primitive, or a dict by species."
            )
        return tensors
    if missing := sorted(set(symbols) - set(charges)):
        raise InputError(f"charges lack {', '.join(missing)}; the crystal has {', '.join(sorted(set(symbols)))}.")
    rows = []
    for symbol in symbols:
        value = as_finite(charges[symbol], f"charges of {symbol}")
        if value.shape not in ((), (3, 3)):
            raise InputError(f"the charge of {symbol} has shape {value.shape}; allowed: a number or a (3, 3) tensor.")
        rows.append(value * np.eye(3) if value.ndim == 0 else value)
    return np.array(rows)
