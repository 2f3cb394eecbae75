"""Base class of ASE calculators that also give magnetic forces and torques.

ASE knows ``magmoms`` as (n,) numbers only and does not know ``magnetic_forces``; its ``export_properties``
and ``get_properties`` stop with an error on either. A subclass only writes ``calculate`` and fills
``self.results``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from ase.outputs import Properties, all_outputs
from numpy.typing import NDArray

from deepspin_ase.quantities import ALL_PROPERTIES, MAGMOMS, MAGNETIC_FORCES, MAGNETIC_TORQUES


class MagneticCalculator(Calculator):
    """ASE calculator with the properties of ``quantities.ALL_PROPERTIES``."""

    implemented_properties = list(ALL_PROPERTIES)  # noqa: RUF012 (ASE's own declaration; never extended)

    def get_magnetic_forces(self, atoms: Atoms | None = None) -> NDArray[np.float64]:
        """Magnetic forces -dE/dm at fixed positions and cell.

        Parameters
        ----------
        atoms
            Structure; default the one of the last calculation.

        Returns
        -------
        ndarray
            (n, 3), eV/µB. Divided by ``quantities.MU_B`` it is the effective field in tesla.
        """
        return np.asarray(self.get_property(MAGNETIC_FORCES, atoms))

    def get_magnetic_torques(self, atoms: Atoms | None = None) -> NDArray[np.float64]:
        """Magnetic torques m x (-dE/dm).

        Parameters
        ----------
        atoms
            Structure; default the one of the last calculation.

        Returns
        -------
        ndarray
            (n, 3), eV per radian.
        """
        return np.asarray(self.get_property(MAGNETIC_TORQUES, atoms))

    def export_properties(self) -> Properties:
        """Results as ASE's own container: without what it cannot hold, (n, 3) moments and magnetic forces."""
        return Properties(
            {
                name: value
                for name, value in self.results.items()
                if name in all_outputs and not (name == MAGMOMS and np.ndim(value) != 1)
            }
        )

    def calculate_properties(self, atoms: Atoms, properties: Sequence[str]) -> Mapping[str, Any]:
        """Calculate several properties at once (what ``atoms.get_properties`` calls).

        Parameters
        ----------
        atoms
            Structure.
        properties
            Names out of ``implemented_properties``.

        Returns
        -------
        Mapping
            Read-only; (n, 3) moments and magnetic forces included.
        """
        unknown = [name for name in properties if name not in self.implemented_properties]
        if unknown:
            raise PropertyNotImplementedError(
                f"{type(self).__name__} does not give {', '.join(unknown)}; it gives "
                f"{', '.join(self.implemented_properties)}."
            )
        return MappingProxyType({name: self.get_property(name, atoms) for name in properties})
