"""Compiled loops (numba) over many spins; they release the interpreter lock and are shared out to threads.

The number of threads is that of the cores this process may use, or ``OMP_NUM_THREADS`` if that is set.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from deepspin_ase.heisenberg import HeisenbergModel
from deepspin_ase.threads import thread_count

Array = NDArray[np.float64]

_SPINS_PER_THREAD = 4096

compiled = njit(cache=True, nogil=True, error_model="numpy")
"""Decorator of loops: compiled once per machine, then read from a cache on disk."""


class ExchangeLoop:
    """Magnetic forces of a spin model: exchange and anisotropy across the moments, and an external part.

    Parameters
    ----------
    model
        Spin model; isotropic exchange is stored as numbers, anything else as 3x3 tensors.
    """

    def __init__(self, model: HeisenbergModel) -> None:
        bonds = model.bonds
        self.pointers = np.searchsorted(bonds.i, np.arange(len(model) + 1)).astype(np.int32)
        self.neighbours = bonds.j.astype(np.int32)
        self.isotropic = bonds.isotropic
        self.couplings = np.ascontiguousarray(bonds.tensor[:, 0, 0] if self.isotropic else bonds.tensor)
        self.anisotropy = np.array(model.anisotropy)
        self.anisotropic = bool(self.anisotropy.any())

    def __call__(self, e: Array, lengths: Array, external: Array) -> Array:
        """Magnetic forces, eV/µB, (n, 3), for directions e, lengths |m| (µB, (n,)) and µB B (eV/µB, (3,))."""
        out = np.empty_like(e)
        loop = _isotropic_force if self.isotropic else _tensor_force
        share(
            loop, len(e), self.pointers, self.neighbours, self.couplings, self.anisotropy, self.anisotropic,
            np.ascontiguousarray(e), lengths, external, out,
        )  # fmt: skip
        return out


def share(loop: Callable[..., None], n: int, *arguments: Any) -> None:
    """Run loop(start, stop, ...) over range(n), in pieces on several threads if it is long."""
    pieces = min(thread_count(), n // _SPINS_PER_THREAD) if n >= 2 * _SPINS_PER_THREAD else 1
    if pieces == 1:
        loop(0, n, *arguments)
        return
    ends = np.linspace(0, n, pieces + 1).astype(int)
    pending = [_pool(pieces).submit(loop, a, b, *arguments) for a, b in pairwise(ends)]
    for task in pending:
        task.result()


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="spin-loops")


if hasattr(os, "register_at_fork"):  # threads do not survive a fork
    os.register_at_fork(after_in_child=_pool.cache_clear)


@compiled
def _across(h0, h1, h2, x, y, z, length, external, out, i):  # type: ignore[no-untyped-def]
    """Store the part of h across e = (x, y, z), divided by |m|, plus the external force."""
    along = h0 * x + h1 * y + h2 * z
    inverse = 1.0 / length if length > 0.0 else 0.0
    out[i, 0] = (h0 - along * x) * inverse + external[0]
    out[i, 1] = (h1 - along * y) * inverse + external[1]
    out[i, 2] = (h2 - along * z) * inverse + external[2]


@compiled
def _isotropic_force(start, stop, pointers, neighbours, couplings, k, anisotropic, e, lengths, external, out):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        h0 = h1 = h2 = 0.0
        for b in range(pointers[i], pointers[i + 1]):
            j, c = neighbours[b], couplings[b]
            h0 += c * e[j, 0]
            h1 += c * e[j, 1]
            h2 += c * e[j, 2]
        x, y, z = e[i, 0], e[i, 1], e[i, 2]
        if anisotropic:
            h0 += 2.0 * (k[i, 0, 0] * x + k[i, 0, 1] * y + k[i, 0, 2] * z)
            h1 += 2.0 * (k[i, 1, 0] * x + k[i, 1, 1] * y + k[i, 1, 2] * z)
            h2 += 2.0 * (k[i, 2, 0] * x + k[i, 2, 1] * y + k[i, 2, 2] * z)
        _across(h0, h1, h2, x, y, z, lengths[i], external, out, i)


@compiled
def _tensor_force(start, stop, pointers, neighbours, couplings, k, anisotropic, e, lengths, external, out):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        x, y, z = e[i, 0], e[i, 1], e[i, 2]
        h0 = 2.0 * (k[i, 0, 0] * x + k[i, 0, 1] * y + k[i, 0, 2] * z)
        h1 = 2.0 * (k[i, 1, 0] * x + k[i, 1, 1] * y + k[i, 1, 2] * z)
        h2 = 2.0 * (k[i, 2, 0] * x + k[i, 2, 1] * y + k[i, 2, 2] * z)
        for b in range(pointers[i], pointers[i + 1]):
            j = neighbours[b]
            u, v, w = e[j, 0], e[j, 1], e[j, 2]
            h0 += couplings[b, 0, 0] * u + couplings[b, 0, 1] * v + couplings[b, 0, 2] * w
            h1 += couplings[b, 1, 0] * u + couplings[b, 1, 1] * v + couplings[b, 1, 2] * w
            h2 += couplings[b, 2, 0] * u + couplings[b, 2, 1] * v + couplings[b, 2, 2] * w
        _across(h0, h1, h2, x, y, z, lengths[i], external, out, i)
