"""Supercells for finite-size analysis: equally shaped, as isotropic as the cell allows, multiples of the order."""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm

import numpy as np
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import HeisenbergModel
from deepspin_plugins.curie.order import MagneticOrder, coupled_axes

_SITES = (512, 1728, 4096)


def cell_shape(model: HeisenbergModel) -> NDArray[np.int64]:
    """Repeats per unit of size: more for short axes, for supercells as wide as long; 0: not repeated."""
    coupled = coupled_axes(model)
    lengths = np.linalg.norm(model.cell, axis=1)
    longest = lengths[coupled].max(initial=0.0)
    return np.where(coupled, np.maximum(np.rint(longest / np.maximum(lengths, 1e-9)), 1), 0).astype(np.int64)


def default_sizes(model: HeisenbergModel, order: MagneticOrder) -> tuple[int, ...]:
    """Three sizes of about 500, 1700 and 4100 magnetic sites that the order fits into."""
    shape = cell_shape(model)
    step = _step(order, shape)
    cell = int(np.count_nonzero(model.magnitudes) * np.prod(np.maximum(shape, 1)))
    sizes: list[int] = []
    for sites in _SITES:
        wanted = (sites / cell) ** (1.0 / max(int(np.count_nonzero(shape)), 1))
        sizes.append(max(step * round(wanted / step), sizes[-1] + step if sizes else step))
    return tuple(sizes)


def checked_sizes(sizes: Sequence[int], order: MagneticOrder, shape: NDArray[np.int64]) -> tuple[int, ...]:
    """Sizes in increasing order.

    Raises
    ------
    InputError
        Fewer than two, equal ones, or ones that do not hold the order.
    """
    given = sorted(int(size) for size in sizes)
    if len(given) < 2 or len(set(given)) < len(given) or given[0] < 1 or any(int(s) != s for s in sizes):
        raise InputError(f"sizes = {list(sizes)}; allowed: at least two (better three) different whole numbers.")
    step = _step(order, shape)
    wrong = [size for size in given if size % step]
    if wrong:
        raise InputError(
            f"sizes = {list(sizes)} do not hold the order ({order.name}), which repeats every {order.period} cells; "
            f"allowed: multiples of {step}."
        )
    return tuple(given)


def _step(order: MagneticOrder, shape: NDArray[np.int64]) -> int:
    """Smallest size of which every multiple holds the order."""
    periods = (p // np.gcd(p, s) for p, s in zip(order.period, shape.tolist(), strict=True) if s)
    return lcm(*(int(p) for p in periods))
