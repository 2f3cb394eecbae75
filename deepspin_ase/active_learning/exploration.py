"""What an explorer is: it proposes structures with moments, and may ask the committee how sure it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from ase import Atoms

if TYPE_CHECKING:
    from deepspin_ase.active_learning.committee import Committee, Levels


@dataclass(frozen=True)
class Domain:
    """The committee, and the deviation beyond which it is no longer to be followed.

    Parameters
    ----------
    committee
        Models of the present iteration.
    limits
        Largest deviation of the forces (eV/Å) and of the transverse magnetic forces (eV/µB).
    """

    committee: Committee
    limits: Levels

    def contains(self, atoms: Atoms) -> bool:
        """Whether the committee agrees on a structure well enough to go on with it."""
        deviations = self.committee.deviations([atoms])
        return bool(
            deviations.forces[0] <= self.limits.forces and deviations.magnetic_perp[0] <= self.limits.magnetic_perp
        )


@dataclass(frozen=True)
class Exploration:
    """What an explorer is given.

    Parameters
    ----------
    structures
        Structures to start from, with moments.
    rng
        All random numbers come from here.
    domain
        The committee and its limits; None before the first training.
    """

    structures: tuple[Atoms, ...]
    rng: np.random.Generator
    domain: Domain | None = None


@runtime_checkable
class Explorer(Protocol):
    """Proposes structures. Its factory is an entry point of the group ``deepspin_ase.explorers``."""

    @property
    def needs_model(self) -> bool:
        """Whether it needs a committee; if not, it can also make the first data."""
        ...

    def size(self, structures: int) -> int:
        """Most structures that it will propose, given the number of structures to start from."""
        ...

    def explore(self, task: Exploration) -> list[Atoms]:
        """Propose structures with moments; plain values in ``atoms.info`` are kept with them."""
        ...
