"""Quasi-harmonic approximation: thermal expansion, bulk modulus and heat capacity in one magnetic state."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
from ase import Atoms, units
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.progress import track
from deepspin_ase.stored_result import StoredResult, new_axes
from deepspin_ase.vectors import as_finite
from deepspin_plugins.phonons.cells import SupercellLike
from deepspin_plugins.phonons.driver import phonons
from deepspin_plugins.phonons.result import PhononResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from phonopy import Phonopy, QHAResult
    from phonopy.phonon.mesh import Mesh

Array = NDArray[np.float64]
EquationOfState = Literal["vinet", "birch_murnaghan", "murnaghan"]

_EQUATIONS: tuple[EquationOfState, ...] = get_args(EquationOfState)
_FEWEST = 5
_IMAGINARY = 0.1  # THz
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Quasiharmonic(StoredResult):
    """Thermodynamics at constant pressure, per atom; arrays over t temperatures and v volumes.

    Errors are the largest change with another equation of state, or without the outermost two volumes (of at least
    seven): what the choice of the fit does. They know nothing of errors of the potential, of anharmonicity at constant
    volume, and of the magnetic and electronic entropy, which are not included.

    Attributes
    ----------
    temperature
        (t,), K.
    volumes, static_energy
        (v,), Å³ and eV, of the calculated cells.
    free_energy
        (t, v), eV: static and vibrational, with p V.
    volume, volume_error
        (t,), Å³, at equilibrium.
    expansion, expansion_error
        (t,), 1/K: (1/V) dV/dT; a cubic crystal has a third of it per axis.
    bulk_modulus, bulk_modulus_error
        (t,), GPa, isothermal.
    heat_capacity, heat_capacity_error
        (t,), at constant pressure, k_B per atom.
    grueneisen
        (t,), thermodynamic Grüneisen parameter.
    pressure
        GPa.
    eos
        Equation of state.
    """

    temperature: Array
    volumes: Array
    static_energy: Array
    free_energy: Array
    volume: Array
    volume_error: Array
    expansion: Array
    expansion_error: Array
    bulk_modulus: Array
    bulk_modulus_error: Array
    heat_capacity: Array
    heat_capacity_error: Array
    grueneisen: Array
    pressure: float
    eos: str

    @classmethod
    def from_phonons(
        cls,
        results: Sequence[PhononResult],
        energies: ArrayLike,
        *,
        temperatures: ArrayLike | None = None,
        pressure: float = 0.0,
        eos: EquationOfState = "vinet",
        mesh: int | Sequence[int] = 21,
    ) -> Quasiharmonic:
        """From phonons that are there already, for instance those of a paramagnet at several volumes.

        Parameters
        ----------
        results
            Phonons, at least five volumes in any order.
        energies
            (v,), static energies, eV per atom; of a paramagnet their mean over states of the moments.
        temperatures, pressure, eos, mesh
            As in :func:`quasiharmonic`.
        """
        grid, sizes = _check(temperatures, eos, mesh)
        static = as_finite(energies, "energies")
        if len(results) < _FEWEST or static.shape != (len(results),):
            raise InputError(
                f"{len(results)} volumes with energies of shape {static.shape}; allowed: at least {_FEWEST} volumes, "
                "and one energy for each."
            )
        order = np.argsort([result.phonon.primitive.volume for result in results])
        crystals, static = [results[n].phonon for n in order], static[order]
        atoms = len(crystals[0].primitive)
        first = int(grid[0] > 0)  # finite differences use up one temperature at either end; nothing changes at 0 K
        before = max(0.0, 2 * grid[0] - grid[1])
        extended = np.concatenate([[before][:first], grid, [2 * grid[-1] - grid[-2]]])
        everything = slice(None)

        def fit(equation: str, which: slice = everything) -> QHAResult:
            return _run(crystals[which], extended, atoms * static[which], mesh=sizes, pressure=pressure, eos=equation)

        main = fit(eos)
        _refuse_imaginary(crystals)
        others = [fit(name) for name in _EQUATIONS if name != eos]
        if len(crystals) >= _FEWEST + 2:
            others.append(fit(eos, slice(1, -1)))
        temperature, volumes = main.temperatures[first:], main.volumes / atoms
        found = main.equilibrium_volumes[first:] / atoms
        kept = _inside(found, volumes, temperature)
        values = {
            "volume": lambda r: r.equilibrium_volumes / atoms,
            "expansion": lambda r: r.thermal_expansion,
            "bulk_modulus": lambda r: r.bulk_moduli / units.GPa,
            "heat_capacity": lambda r: r.heat_capacity_P.heat_capacities / units.kB / atoms,
        }
        arrays: dict[str, Any] = {}
        for name, value in values.items():
            own, *changed = (value(one)[first : first + kept] for one in (main, *others))
            arrays[name] = own
            arrays[f"{name}_error"] = np.max([np.abs(other - own) for other in changed], axis=0)
        return cls(
            temperature=temperature[:kept],
            volumes=volumes,
            static_energy=static,
            free_energy=main.helmholtz_volume[first : first + kept] / atoms,
            grueneisen=main.gruneisen_parameters[first : first + kept],
            pressure=float(pressure),
            eos=eos,
            **arrays,
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the thermal expansion."""
        ax = new_axes() if ax is None else ax
        _band(ax, self.temperature, 1e6 * self.expansion, 1e6 * self.expansion_error)
        ax.set_ylabel("volume expansion (10⁻⁶/K)")
        return ax

    def draw(self) -> Figure:
        """Free energy over volume, expansion, bulk modulus and heat capacity."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.0, 7.0), layout="constrained")
        (first, second), (third, fourth) = figure.subplots(2, 2)
        for index in range(0, len(self.temperature), max(1, len(self.temperature) // 8)):
            line = first.plot(self.volumes, self.free_energy[index], "o-", ms=3)[0]
            first.axvline(self.volume[index], color=line.get_color(), lw=0.5)
        first.set(xlabel="volume (Å³ per atom)", ylabel="free energy (eV per atom)")
        self.plot(second)
        _band(third, self.temperature, self.bulk_modulus, self.bulk_modulus_error)
        third.set_ylabel("bulk modulus (GPa)")
        _band(fourth, self.temperature, self.heat_capacity, self.heat_capacity_error)
        fourth.axhline(3.0, color="0.6", lw=1, label="Dulong and Petit")
        fourth.set_ylabel("heat capacity at constant pressure ($k_B$ per atom)")
        fourth.legend()
        return figure


def quasiharmonic(
    atoms: Atoms,
    *,
    supercell: SupercellLike = "auto",
    volume_ratios: ArrayLike = (0.97, 0.98, 0.99, 1.0, 1.01, 1.02, 1.03, 1.04, 1.05),
    temperatures: ArrayLike | None = None,
    pressure: float = 0.0,
    eos: EquationOfState = "vinet",
    mesh: int | Sequence[int] = 21,
    **options: Any,
) -> Quasiharmonic:
    """Phonons at several volumes in the magnetic state of the structure, and the free energy that they give.

    Parameters
    ----------
    atoms
        Crystal with a calculator and the moments of the wanted state. Every axis is scaled alike, so the shape of the
        cell stays; for a cubic crystal that is no restriction.
    supercell
        As in :func:`phonons`.
    volume_ratios
        At least five, around 1; the potential must know all of these volumes.
    temperatures
        (t,) in K, rising; derivatives are differences between neighbours; default 0, 10, ... 1000.
    pressure
        GPa.
    eos
        "vinet", "birch_murnaghan" or "murnaghan".
    mesh
        Wavevectors per direction (one or three) of the vibrational free energy; odd ones, with Γ.
    options
        Further options of :func:`phonons`: distance, state, method, ...

    Returns
    -------
    Quasiharmonic
        Up to the temperature at which the equilibrium volume leaves the calculated ones.

    Raises
    ------
    InputError
        Too few volumes, imaginary modes at one of them, or no equilibrium volume among them.

    Notes
    -----
    Done by ``phonopy.run_qha``; A. Togo, L. Chaput, I. Tanaka and G. Hug, Phys. Rev. B 81, 174301 (2010).
    """
    ratios = np.sort(as_finite(volume_ratios, "volume_ratios").reshape(-1))
    if len(np.unique(ratios)) < _FEWEST or not np.all((ratios > 0.5) & (ratios < 2.0)):
        raise InputError(f"volume_ratios = {ratios.tolist()}; allowed: at least {_FEWEST} different ones around 1.")
    if options.get("relax") == "cell":
        raise InputError("relax='cell' would undo the volumes; allowed here: 'positions', 'none'.")
    _check(temperatures, eos, mesh)
    results, energies = [], []
    for ratio in track(ratios, "volumes"):
        scaled = atoms.copy()
        scaled.set_cell(atoms.cell.array * ratio ** (1 / 3), scale_atoms=True)
        results.append(phonons(scaled, atoms.calc, supercell=supercell, **options))
        home = results[-1].unitcell
        energies.append(atoms.calc.get_potential_energy(home) / len(home))
    return Quasiharmonic.from_phonons(
        results, energies, temperatures=temperatures, pressure=pressure, eos=eos, mesh=mesh
    )


def _check(temperatures: ArrayLike | None, eos: str, mesh: int | Sequence[int]) -> tuple[Array, NDArray[np.int64]]:
    """Temperatures and mesh as arrays."""
    if eos not in _EQUATIONS:
        raise InputError(f"eos = {eos!r}; allowed: {', '.join(_EQUATIONS)}.")
    grid = np.arange(0.0, 1001.0, 10.0) if temperatures is None else as_finite(temperatures, "temperatures")
    if grid.ndim != 1 or len(grid) < 3 or grid[0] < 0 or not np.all(np.diff(grid) > 0):
        raise InputError("temperatures must be at least three rising numbers from 0 K upwards.")
    sizes = np.broadcast_to(np.asarray(mesh), (3,))
    if not np.issubdtype(sizes.dtype, np.integer) or np.any(sizes < 1) or not np.all(sizes % 2):
        raise InputError(f"mesh = {mesh!r}; allowed: one or three odd numbers.")  # phonopy shifts even ones off Γ
    return grid, sizes


def _refuse_imaginary(crystals: Sequence[Phonopy]) -> None:
    """Stop if a mode on the last mesh is imaginary: phonopy would leave it out of the free energy."""
    for crystal in crystals:
        lowest = float(cast("Mesh", crystal.mesh).frequencies.min())
        if lowest < -_IMAGINARY:
            volume = crystal.primitive.volume / len(crystal.primitive)
            raise InputError(
                f"imaginary modes ({-lowest:.2f}i THz) at {volume:.3f} Å³ per atom: the crystal is unstable there and "
                "has no free energy of phonons. Use volumes at which it is stable, another magnetic state, or a larger "
                "supercell; imaginary_modes() shows where they are."
            )


def _inside(found: Array, volumes: Array, temperature: Array) -> int:
    """How many temperatures there are before the equilibrium leaves the calculated volumes."""
    outside = np.append((found <= volumes[0]) | (found >= volumes[-1]), True)
    kept = int(np.argmax(outside))
    if kept < 2:
        raise InputError(
            f"the equilibrium volume ({found[0]:.3f} Å³ per atom at {temperature[0]:g} K) is not among the volumes "
            f"from {volumes[0]:.3f} to {volumes[-1]:.3f}; choose other volume_ratios."
        )
    if kept < len(found):
        _log.warning("above %g K the volume leaves the calculated ones; results end there", temperature[kept - 1])
    return kept


def _run(crystals: Sequence[Phonopy], temperatures: Array, energy: Array, **options: Any) -> QHAResult:
    """Call phonopy's quasi-harmonic approximation."""
    import phonopy
    from phonopy.phonon.mesh import MeshSymmetryFallbackWarning

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Lattice parameter")  # the axes are not used
        warnings.filterwarnings("ignore", category=MeshSymmetryFallbackWarning)  # slower, not wrong
        warnings.filterwarnings("error", "EOS fitting failed")
        try:
            return phonopy.run_qha(crystals, temperatures, energy, exclude_gamma_acoustic=True, **options)
        except (UserWarning, RuntimeError) as problem:
            raise InputError(
                f"no equation of state fits the free energies ({problem}); choose volumes closer to equilibrium, "
                "or lower temperatures."
            ) from problem


def _band(ax: Axes, x: Array, y: Array, error: Array) -> None:
    line = ax.plot(x, y)[0]
    ax.fill_between(x, y - error, y + error, color=line.get_color(), alpha=0.3, lw=0)
    ax.set_xlabel("temperature (K)")
