"""What an integrator asks for: magnetic forces at given directions, through ASE or straight from a spin model.

A field is called as ``field(e, fraction)`` and answers with F = -∂E/∂m, eV/µB, (n, 3), for the directions e (n, 3). The
fraction (0 beginning, ½ middle, 1 end) says at which time of the step it is asked, for fields that depend on time.

* :class:`AtomsField`: any ASE calculator that gives ``magnetic_forces``.
* :class:`ModelField`: a :class:`~deepspin_ase.heisenberg.HeisenbergModel`, without ASE between: for 10⁴ to 10⁶ spins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import Heisenberg, HeisenbergModel
from deepspin_ase.moments import get_moments, set_moments
from deepspin_ase.quantities import MAGNETIC_FORCES, MU_B
from deepspin_plugins.spin_dynamics.constants import FEMTOSECOND
from deepspin_plugins.spin_dynamics.zeeman import ZeemanField

Array = NDArray[np.float64]


class SpinField(ABC):
    """Magnetic forces as a function of directions.

    Attributes
    ----------
    evaluations
        How often it was asked: what a step costs.
    """

    def __init__(self) -> None:
        self.evaluations = 0

    def begin_step(self, time: float, timestep: float) -> None:  # noqa: B027 (optional, not abstract)
        """Say when the step begins and how long it is, ASE units; static fields need not know."""

    def __call__(self, e: Array, fraction: float = 0.0) -> Array:
        """Magnetic forces, eV/µB, (n, 3), at directions e (n, 3), ``fraction`` of a step after its beginning."""
        self.evaluations += 1
        return self.evaluate(e, fraction)

    @abstractmethod
    def evaluate(self, e: Array, fraction: float) -> Array:
        """Do what a call does, without counting; subclasses define it."""


class AtomsField(SpinField):
    """Magnetic forces from the calculator of a structure.

    Every evaluation puts the moments |m| e on the atoms; the structure always carries what was evaluated last. A
    calculator with a method ``set_time(time in fs)`` is told the time first.

    Parameters
    ----------
    atoms
        Structure with a calculator. The lengths of its moments at this moment are used from here on.

    Attributes
    ----------
    lengths
        |m|, µB, (n,). May be changed between steps.

    Raises
    ------
    InputError
        No calculator, no magnetic forces, no or not finite moments.
    """

    def __init__(self, atoms: Atoms) -> None:
        super().__init__()
        check_magnetic(atoms)
        self.atoms = atoms
        self.lengths: Array = np.linalg.norm(get_moments(atoms), axis=1)
        self._time, self._timestep = 0.0, 0.0

    def begin_step(self, time: float, timestep: float) -> None:
        """Say when the step begins and how long it is, ASE units."""
        self._time, self._timestep = time, timestep

    def evaluate(self, e: Array, fraction: float) -> Array:
        """Magnetic forces, eV/µB, (n, 3)."""
        put_moments(self.atoms, self.lengths[:, None] * e)
        tell_time(self.atoms, self._time + fraction * self._timestep)
        return np.array(self.atoms.calc.get_property(MAGNETIC_FORCES, self.atoms), dtype=float)


class ModelField(SpinField):
    """Magnetic forces of a spin model with static couplings, as compiled loops.

    Parameters
    ----------
    model
        Spin model; its magnitudes are the lengths of the moments. ``model.repeat(...)`` makes large ones.
    wrappers
        :class:`ZeemanField` objects, the outermost first, whose fields B(t) act beside the one of the model.

    Notes
    -----
    The result equals ``model.magnetic_forces(moments)``; a site without a moment gets the Zeeman part only.
    """

    def __init__(self, model: HeisenbergModel, wrappers: Sequence[ZeemanField] = ()) -> None:
        super().__init__()
        from deepspin_plugins.spin_dynamics.fast import ExchangeLoop

        self.model = model
        self.lengths: Array = np.array(model.magnitudes)
        self._wrappers = wrappers
        self._loop = ExchangeLoop(model)
        self._time, self._timestep = 0.0, 0.0

    def begin_step(self, time: float, timestep: float) -> None:
        """Say when the step begins and how long it is, ASE units."""
        self._time, self._timestep = time, timestep

    def evaluate(self, e: Array, fraction: float) -> Array:
        """Magnetic forces, eV/µB, (n, 3)."""
        if self._wrappers:
            self._wrappers[0].set_time((self._time + fraction * self._timestep) / FEMTOSECOND)
        return self._loop(e, self.lengths, MU_B * total_field(self.model, self._wrappers))


def field_of(atoms: Atoms) -> AtomsField | ModelField:
    """Fastest field for a structure whose atoms do not move.

    Returns
    -------
    ModelField
        For a :class:`~deepspin_ase.heisenberg.Heisenberg` calculator, also in a :class:`ZeemanField`: the spin model
        at the present positions.
    AtomsField
        For every other calculator.
    """
    heisenberg, wrappers = spin_model_calculator(atoms.calc)
    if heisenberg is None:
        return AtomsField(atoms)
    check_magnetic(atoms)
    return ModelField(heisenberg.to_model(atoms), wrappers)


def spin_model_calculator(calculator: object) -> tuple[Heisenberg | None, list[ZeemanField]]:
    """The ``Heisenberg`` calculator inside of fields (None if it is another one) and the fields, outermost first."""
    wrappers = []
    while type(calculator) is ZeemanField:
        wrappers.append(calculator)
        calculator = calculator.calculator
    return (calculator if type(calculator) is Heisenberg else None), wrappers


def total_field(model: HeisenbergModel, wrappers: Sequence[ZeemanField]) -> Array:
    """Field of a spin model and of the wrappers about its calculator at their present time, tesla, (3,)."""
    return np.asarray(sum((wrapper.field for wrapper in wrappers), start=np.array(model.field)))


def check_magnetic(atoms: Atoms) -> None:
    """Refuse structures that cannot be moved by magnetic forces.

    Raises
    ------
    InputError
        No atoms, no calculator, a calculator without magnetic forces, no moments, or NaN among them.
    """
    if len(atoms) == 0:
        raise InputError("the structure has no atoms; spin dynamics needs at least one moment.")
    if atoms.calc is None:
        raise InputError("the structure has no calculator; set atoms.calc to DeepSpin, Heisenberg or another one.")
    offered = getattr(atoms.calc, "implemented_properties", ())
    if MAGNETIC_FORCES not in offered:
        raise InputError(
            f"{type(atoms.calc).__name__} gives {', '.join(offered) or 'nothing'}; spin dynamics needs "
            f"{MAGNETIC_FORCES}. Use DeepSpin, Heisenberg or another calculator that gives them."
        )
    moments = get_moments(atoms)
    if not np.isfinite(moments).all():
        raise InputError("the moments of the structure contain NaN or infinity; use set_moments(atoms, m).")
    if not moments.any():
        raise InputError(
            "the structure carries no moments; set them first: set_moments(atoms, ferromagnet(atoms, 2.2))."
        )


def put_moments(atoms: Atoms, moments: Array) -> None:
    """Put (n, 3) moments (µB) on a structure, in place where it already carries vectors."""
    present = atoms.arrays.get("initial_magmoms")
    if present is not None and present.shape == moments.shape:
        present[...] = moments
    else:
        set_moments(atoms, moments)


def tell_time(atoms: Atoms, time: float) -> None:
    """Tell a time-dependent calculator the time (given in ASE units; its ``set_time`` takes fs)."""
    set_time = getattr(atoms.calc, "set_time", None)
    if set_time is not None:
        set_time(time / FEMTOSECOND)
