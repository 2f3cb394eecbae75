"""Functions of a distance for exchange and lattice, with slopes, and how they are assigned to species.

Every function is multiplied by a switch that takes it to zero between ``onset`` and ``cutoff`` with three
continuous derivatives, so that energies are as smooth as the conventions ask when an atom crosses the cutoff.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.vectors import Array, as_finite, unit_vector

SpeciesPair = tuple[str, str]
Anisotropy = ArrayLike | Mapping[str, ArrayLike]


@dataclass(frozen=True, kw_only=True)
class PairFunction(ABC):
    """A function of the distance between two atoms. Subclasses give the value and the slope before the
    switch.

    Parameters
    ----------
    cutoff
        Å; the function is zero from here on.
    onset
        Å; up to here the function is what it says. Default 0.7 times the cutoff.
    """

    cutoff: float
    onset: float | None = None

    def __post_init__(self) -> None:
        onset = 0.7 * self.cutoff if self.onset is None else self.onset
        if not 0.0 <= onset < self.cutoff:
            raise InputError(f"onset = {onset} Å, cutoff = {self.cutoff} Å; allowed: 0 <= onset < cutoff.")
        object.__setattr__(self, "onset", onset)

    @abstractmethod
    def bare(self, r: Array) -> tuple[Array, Array]:
        """Value and slope at distances r (Å) without the switch."""

    def evaluate(self, r: ArrayLike) -> tuple[Array, Array]:
        """Value and slope at distances r (Å) with the switch."""
        distance = np.asarray(r, dtype=float)
        value, slope = self.bare(distance)
        assert self.onset is not None
        width = self.cutoff - self.onset
        x = np.clip((distance - self.onset) / width, 0.0, 1.0)
        switch = 1.0 - x**4 * (35.0 - 84.0 * x + 70.0 * x**2 - 20.0 * x**3)
        switch_slope = -140.0 / width * (x * (1.0 - x)) ** 3
        return value * switch, slope * switch + value * switch_slope

    def __call__(self, r: ArrayLike) -> Array:
        """Value at distances r (Å)."""
        return self.evaluate(r)[0]


@dataclass(frozen=True, kw_only=True)
class Exponential(PairFunction):
    """strength · exp(-(r - r0)/decay): strength in the unit of the term, r0 and decay in Å."""

    strength: float
    r0: float
    decay: float

    def bare(self, r: Array) -> tuple[Array, Array]:
        """Value and slope without the switch."""
        value = self.strength * np.exp(-(r - self.r0) / self.decay)
        return value, -value / self.decay


@dataclass(frozen=True, kw_only=True)
class BetheSlater(PairFunction):
    """Bethe-Slater curve 4 a x (1 - b x) exp(-x), x = (r/d)²: a in the unit of the term, d in Å.

    Source: the form of the LAMMPS SPIN package, Tranchida et al., J. Comput. Phys. 372, 406 (2018), eq. 5.
    """

    a: float
    b: float
    d: float

    def bare(self, r: Array) -> tuple[Array, Array]:
        """Value and slope without the switch."""
        x = (r / self.d) ** 2
        prefactor = 4.0 * self.a * np.exp(-x)
        value = prefactor * x * (1.0 - self.b * x)
        slope = prefactor * (1.0 - 2.0 * self.b * x - x + self.b * x**2) * 2.0 * r / self.d**2
        return value, slope


@dataclass(frozen=True, kw_only=True)
class Polynomial(PairFunction):
    """Σ_k coefficients[k] · (r - r0)^k: coefficients in the unit of the term and Å, r0 in Å."""

    coefficients: Sequence[float]
    r0: float

    def bare(self, r: Array) -> tuple[Array, Array]:
        """Value and slope without the switch."""
        series = np.polynomial.Polynomial(self.coefficients)
        return series(r - self.r0), series.deriv()(r - self.r0)


@dataclass(frozen=True, kw_only=True)
class Morse(PairFunction):
    """Morse bond depth · [(1 - exp(-stiffness (r - r0)))² - 1]: depth in eV, stiffness in 1/Å, r0 in Å."""

    depth: float
    r0: float
    stiffness: float

    def bare(self, r: Array) -> tuple[Array, Array]:
        """Value and slope without the switch."""
        y = np.exp(-self.stiffness * (r - self.r0))
        return self.depth * (y**2 - 2.0 * y), 2.0 * self.depth * self.stiffness * (y - y**2)


@dataclass(frozen=True, kw_only=True)
class CustomPair(PairFunction):
    """A function of your own: ``value`` and ``slope`` map distances (Å) to values and derivatives."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]

    def bare(self, r: Array) -> tuple[Array, Array]:
        """Value and slope without the switch."""
        return np.asarray(self.value(r), dtype=float), np.asarray(self.slope(r), dtype=float)


class PairTable:
    """Which function acts between which species.

    Parameters
    ----------
    functions
        One function for all pairs, or ``{("Fe", "Co"): function}``; the order of the two species does not
        matter, and pairs that are not listed do not interact.
    name
        Name of the term, for messages.
    """

    def __init__(self, functions: PairFunction | Mapping[SpeciesPair, PairFunction], *, name: str) -> None:
        self._all: PairFunction | None = None
        self._by_pair: dict[tuple[int, int], PairFunction] = {}
        if isinstance(functions, PairFunction):
            self._all = functions
        elif isinstance(functions, Mapping) and functions:
            for key, function in functions.items():
                pair = _species_pair(key, name)
                if pair in self._by_pair:
                    raise InputError(f"{name} lists the pair {key} twice, in both orders; give it once.")
                self._by_pair[pair] = function
        for function in [functions] if not isinstance(functions, Mapping) else functions.values():
            if not isinstance(function, PairFunction):
                raise TypeError(
                    f"{name} got {function!r}; allowed: Exponential, BetheSlater, Polynomial, Morse, or "
                    "CustomPair(value=..., slope=..., cutoff=...) around a function of your own, or a "
                    "dict of them "
                    'by species pair, {("Ni", "Ni"): ...}.'
                )
        if self._all is None and not self._by_pair:
            raise InputError(f"{name} is empty; leave the option out instead.")
        self.cutoff = max(function.cutoff for function in self._functions())

    def _functions(self) -> list[PairFunction]:
        return [self._all] if self._all is not None else list(self._by_pair.values())

    def evaluate(
        self, first: NDArray[np.int64], second: NDArray[np.int64], r: Array
    ) -> Iterator[tuple[NDArray[np.int64], Array, Array]]:
        """Go through the interacting pairs.

        Parameters
        ----------
        first, second
            Atomic numbers of the two ends of each pair.
        r
            Distances, Å.

        Yields
        ------
        index, value, slope
            Which pairs, and the function there.
        """
        if self._all is not None:
            index = np.flatnonzero(r < self._all.cutoff)
            yield (index, *self._all.evaluate(r[index]))
        low, high = np.minimum(first, second), np.maximum(first, second)
        for (a, b), function in self._by_pair.items():
            index = np.flatnonzero((low == a) & (high == b) & (r < function.cutoff))
            yield (index, *function.evaluate(r[index]))


def uniaxial(strength: float, axis: ArrayLike | str = "z") -> Array:
    """Anisotropy tensor K of -strength (e·n)²: (3, 3), eV. Positive strength: n is an easy axis."""
    n = unit_vector(axis, "axis")
    return float(strength) * np.outer(n, n)


@dataclass(frozen=True)
class Landau:
    """Longitudinal energy a m² + b m⁴ + c m⁶ of one atom: a in eV/µB², b in eV/µB⁴, c in eV/µB⁶."""

    a: float
    b: float
    c: float = 0.0

    def __post_init__(self) -> None:
        last = next((x for x in (self.c, self.b, self.a) if x != 0.0), 0.0)
        if not np.isfinite(self.a + self.b + self.c) or last < 0.0:
            raise InputError(
                f"Landau(a={self.a}, b={self.b}, c={self.c}) has no lowest energy; the last coefficient "
                "that is not "
                "zero must be positive."
            )

    def energy(self, m2: Array) -> Array:
        """Energy (eV) for squared moments m² (µB²)."""
        return m2 * (self.a + m2 * (self.b + m2 * self.c))

    def slope(self, m2: Array) -> Array:
        """Derivative with respect to m², eV/µB²; the magnetic force is -2 m times this."""
        return self.a + m2 * (2.0 * self.b + 3.0 * m2 * self.c)


def anisotropy_by_species(table: Mapping[str, ArrayLike]) -> dict[int, Array]:
    """Symmetric (3, 3) tensors by atomic number from ``{"Co": tensor}``."""
    result = {}
    for symbol, tensor in table.items():
        array = as_finite(tensor, f"anisotropy[{symbol!r}]")
        if array.shape != (3, 3):
            raise InputError(
                f"anisotropy[{symbol!r}] has shape {array.shape}; allowed: (3, 3) in eV, "
                "for instance uniaxial(1e-4, 'z')."
            )
        result[species_number(symbol, "anisotropy")] = (array + array.T) / 2
    return result


def anisotropy_tensors(anisotropy: Anisotropy | None, numbers: NDArray[np.int64], magnetic: NDArray[np.bool_]) -> Array:
    """Tensors of the sites, (n, 3, 3), from one tensor, a dict by species or an array; else zero."""
    tensors = np.zeros((len(numbers), 3, 3))
    if isinstance(anisotropy, Mapping):
        for number, tensor in anisotropy_by_species(anisotropy).items():
            tensors[numbers == number] = tensor
    elif anisotropy is not None:
        given = as_finite(anisotropy, "anisotropy")
        if given.shape not in ((3, 3), tensors.shape):
            raise InputError(
                f"anisotropy has shape {given.shape}; allowed: (3, 3), {{species: (3, 3)}} or {tensors.shape}, in eV."
            )
        tensors[:] = given
    tensors[~magnetic] = 0.0
    return tensors


def species_number(symbol: str, name: str) -> int:
    """Atomic number of a chemical symbol."""
    if symbol not in atomic_numbers:
        raise InputError(f"{name} has the key {symbol!r}, which is no chemical symbol.")
    return int(atomic_numbers[symbol])


def _species_pair(key: object, name: str) -> tuple[int, int]:
    if not isinstance(key, tuple) or len(key) != 2:
        raise InputError(f'{name} has the key {key!r}; allowed: pairs of chemical symbols, ("Fe", "Co").')
    first, second = sorted(species_number(symbol, name) for symbol in key)
    return first, second
