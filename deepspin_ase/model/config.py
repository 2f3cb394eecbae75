"""Settings that define a network, and nothing else."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of a :class:`~deepspin_ase.model.network.SpinNetwork`.

    Parameters
    ----------
    species
        Atomic numbers the model knows, for example ``(8, 28)``.
    magnetic
        Species that carry a moment; the moments of all others are ignored. Must be a subset of ``species``.
    cutoff
        Cutoff radius in Å.
    channels
        Width of scalar and spin features.
    layers
        Message-passing layers; the energy of an atom depends on atoms up to ``layers * cutoff`` away.
    radial
        Number of Bessel functions.
    quadrupoles
        Spin tensors of rank two per atom (biquadratic exchange); 0 leaves them out.
    spin_orbit
        Whether spins couple to lattice directions (anisotropy, Dzyaloshinskii–Moriya interaction). Without it the
        energy is exactly invariant under a rotation of all moments alone.
    mean_neighbours
        Typical number of neighbours within the cutoff; divides the sums over neighbours. Taken from the training data.

    Raises
    ------
    ValueError
        For values outside their range.
    """

    species: tuple[int, ...]
    magnetic: tuple[int, ...]
    cutoff: float = 5.0
    channels: int = 32
    layers: int = 2
    radial: int = 10
    quadrupoles: int = 8
    spin_orbit: bool = False
    mean_neighbours: float = field(default=40.0)

    def __post_init__(self) -> None:
        if not self.species or len(set(self.species)) != len(self.species):
            raise ValueError(f"species must be a non-empty list without repeats, got {self.species}")
        if bad := [z for z in self.species if not 1 <= z <= 118]:
            raise ValueError(f"species must be atomic numbers from 1 to 118, got {bad}")
        if unknown := set(self.magnetic) - set(self.species):
            raise ValueError(f"magnetic species {sorted(unknown)} are not among species {self.species}")
        if not 1.0 <= self.cutoff <= 12.0:
            raise ValueError(f"cutoff must lie between 1 and 12 Å, got {self.cutoff}")
        for name, value, low, high in (
            ("channels", self.channels, 4, 512),
            ("layers", self.layers, 1, 6),
            ("radial", self.radial, 2, 32),
            ("quadrupoles", self.quadrupoles, 0, 512),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} must lie between {low} and {high}, got {value}")
        if not self.mean_neighbours > 0:
            raise ValueError(f"mean_neighbours must be positive, got {self.mean_neighbours}")

    def as_dict(self) -> dict[str, Any]:
        """Plain types only, for checkpoints and YAML."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Inverse of :meth:`as_dict`."""
        plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**plain)
