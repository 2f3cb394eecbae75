"""Order parameters given by weights in the cell of a model, spread over a supercell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import HeisenbergModel
from deepspin_ase.vectors import Array, as_finite


class OrderRows(NamedTuple):
    """Order parameters of N magnetic sites in the form of ``kernels.measure_orders``.

    Attributes
    ----------
    rows
        Real weights of the directions, (r, N); a complex order parameter has two rows.
    owner
        Order parameter of each row, (r,).
    saturation
        Σ |w| |m| / N, µB, (p,).
    """

    rows: Array
    owner: NDArray[np.int64]
    saturation: Array


def order_rows(
    model: HeisenbergModel, cells: tuple[int, int, int], weights: ArrayLike | None, wave_vectors: ArrayLike | None
) -> OrderRows:
    """Weights w exp(2πi q·S) |m| of the sites of a supercell, normalised to 1; see ``MonteCarlo`` for the arguments."""
    n = len(model)
    given = np.ones(n) if weights is None else np.asarray(weights)
    table = np.atleast_2d(given).astype(complex)
    if table.ndim != 2 or table.shape[1] != n or not np.isfinite(table).all():
        raise InputError(f"weights have shape {given.shape}; allowed: ({n},) or (p, {n}), finite numbers.")
    q = np.zeros((len(table), 3)) if wave_vectors is None else np.atleast_2d(as_finite(wave_vectors, "wave_vectors"))
    if q.shape != (len(table), 3):
        raise InputError(f"wave_vectors have shape {q.shape}; allowed: ({len(table)}, 3), one per order parameter.")
    if np.abs(q * cells - np.round(q * cells)).max() > 1e-6:
        raise InputError(
            f"wave_vectors {q.tolist()} do not fit into {cells} cells: every component times the number of cells "
            "must be whole. Take another size."
        )
    magnetic = np.flatnonzero(model.magnitudes)
    grid = np.stack(np.unravel_index(np.arange(np.prod(cells)), cells), axis=1)
    phase = np.exp(2j * np.pi * q @ grid.T)
    weighted = table[:, magnetic] * model.magnitudes[magnetic]
    rows = (phase[:, :, None] * weighted[:, None]).reshape(len(table), -1)
    total = np.abs(rows).sum(axis=1)
    if np.any(total == 0.0):
        raise InputError("an order parameter has weight zero on every magnetic site.")
    parts = np.stack([rows.real, rows.imag], axis=1) / total[:, None, None]
    used = np.abs(parts).max(axis=2) > 1e-12 / rows.shape[1]
    owner = np.nonzero(used)[0]
    return OrderRows(np.ascontiguousarray(parts[used]), owner, total / rows.shape[1])
