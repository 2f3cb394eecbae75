"""Order parameters: which pattern of moments orders, found from the exchange or given as a state."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import lcm

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray

from deepspin_ase.errors import InputError
from deepspin_ase.heisenberg import HeisenbergModel
from deepspin_ase.quantities import K_B
from deepspin_ase.stored_result import StoredResult
from deepspin_ase.vectors import Array, as_finite
from deepspin_plugins.curie.series import Series
from deepspin_plugins.magnons.fourier import FourierSum

Complex = NDArray[np.complex128]

_MESH = 12  # wave vectors tried are fractions k/12
_LARGEST_MESH_WORK = 4_000_000  # points times sites squared
_DEGENERATE = 0.01  # J(q) this close (relative) to its maximum belongs to the same star
_MOST_ARMS = 24
_MOST_PARTS = 8


@dataclass(frozen=True, eq=False)
class MagneticOrder(StoredResult):
    """A pattern of moments, as the weights of order parameters; the magnitude is 1 where the pattern is perfect.

    Attributes
    ----------
    name
        "ferromagnet", "antiferromagnet", "wave vector (1/2 1/2 1/2), 4 arms", ...
    weights
        Of p order parameters on the sites of the cell, complex, (p, n); a wave vector adds exp(2πi q·S) in cell S.
    wave_vectors
        (p, 3), fractions of the reciprocal cell.
    scale
        Factors of the p absolute values in the sum of squares, (p,); 0 for ``parts``.
    moment
        µB per magnetic site in the perfect pattern.
    parts
        Names of the last rows, which are recorded beside the order parameter: sublattices and the net moment.
    exchange
        Largest eigenvalue of J(q) on this pattern, eV; NaN for a given state.
    """

    name: str
    weights: Complex
    wave_vectors: Array
    scale: Array
    moment: float
    parts: tuple[str, ...]
    exchange: float

    @property
    def mean_field(self) -> float:
        """Mean-field ordering temperature J(q)/3k_B, K: an upper bound."""
        return self.exchange / (3.0 * K_B)

    @property
    def period(self) -> tuple[int, int, int]:
        """Cells per direction after which the pattern repeats; supercells must be multiples."""
        a, b, c = (lcm(*(_fraction(x).denominator for x in column)) for column in self.wave_vectors.T)
        return a, b, c

    def magnitude(self, series: Series) -> Array:
        """Length of the order parameter in every measurement, (T, s)."""
        return np.sqrt(np.einsum("tsp,p->ts", np.square(series.order), np.square(self.scale)))

    def weights_at(self, site: ArrayLike, offset: ArrayLike) -> Complex:
        """Weights (p, N) on the atoms of any supercell: site of the cell (N,) and lattice vector S (N, 3) of each."""
        phases = np.exp(2j * np.pi * self.wave_vectors @ np.asarray(offset).T)
        return np.asarray(self.weights[:, np.asarray(site)] * phases)

    def moments(self, magnitudes: ArrayLike) -> tuple[tuple[int, int, int], Array]:
        """Perfect collinear pattern of the first wave vector along z: repeats, and moments (N, 3) in µB.

        Raises
        ------
        InputError
            If the first pattern is not collinear.
        """
        cells = np.array(list(product(*(range(x) for x in self.period))))
        n = self.weights.shape[1]
        row = self.weights_at(np.tile(np.arange(n), len(cells)), np.repeat(cells, n, axis=0))[0]
        relative = row / row[np.argmax(np.abs(row))]
        sign = np.where(np.abs(relative) > 1e-6, np.sign(relative.real), 0.0)
        if np.abs(np.abs(relative) * sign - relative).max() > 1e-6:
            raise InputError(f"{self.name} is not collinear.")
        result = np.zeros((len(row), 3))
        result[:, 2] = sign * np.tile(np.asarray(magnitudes, dtype=float), len(cells))
        return self.period, result


def find_order(model: HeisenbergModel) -> MagneticOrder:
    """Pattern that orders first when the model is cooled, in mean field: the largest eigenvalue of J(q).

    Parameters
    ----------
    model
        Spin model; the isotropic part tr J/3 of the exchange counts. Spirals from Dzyaloshinskii-Moriya exchange are
        not seen: give their state to :func:`order_of_state`.

    Returns
    -------
    MagneticOrder
        With all arms of the star of q: every wave vector whose J(q) is a local maximum within 1 % of the largest.
        With several sublattices at q = 0, each of them and the net moment are recorded, too.

    Raises
    ------
    InputError
        No exchange, or J(q) so flat that no few wave vectors stand out.

    Notes
    -----
    Wave vectors are searched among the fractions k/12 (fewer for large cells); of an incommensurate structure this is
    the nearest commensurate one.
    """
    kept = np.flatnonzero(model.magnitudes)
    if not model.bonds.tensor.any():
        raise InputError("the model has no exchange between its magnetic sites, so nothing orders.")
    exchange = _exchange(model, kept)
    q = _mesh(coupled_axes(model), len(kept))
    points = np.stack(np.meshgrid(*(np.arange(x) / x for x in q), indexing="ij"), axis=-1).reshape(-1, 3)
    blocks = np.array_split(points, max(1, len(points) * len(kept) ** 2 // 200_000))
    top = np.concatenate([np.linalg.eigvalsh(exchange(block))[:, -1] for block in blocks])
    largest = float(top.max())
    if largest <= 0.0:
        raise InputError("J(q) is nowhere positive, so nothing orders; check the signs of the exchange.")
    arms = _one_of_each_pair(points[_local_maxima(top.reshape(q)).ravel() & (top >= (1 - _DEGENERATE) * largest)])
    if not 0 < len(arms) <= _MOST_ARMS:
        raise InputError(
            f"J(q) is largest at {len(arms)} wave vectors, so exchange alone does not choose an order. Give the "
            "state that orders: order=order_of_state(model, moments)."
        )
    value = top[np.ravel_multi_index(np.rint(arms * q).astype(int).T, q)]
    arms = arms[np.lexsort((np.count_nonzero(arms, axis=1), -np.round(value / largest, 3)))]
    rows, wave_vectors, scale = [], [], []
    for arm, matrix in zip(arms, exchange(arms), strict=True):
        weights, factor = _patterns(matrix, model.magnitudes[kept], arm)
        rows += list(weights)
        wave_vectors += [arm] * len(weights)
        scale += list(factor)
    everywhere = np.zeros((len(rows), len(model)), dtype=complex)
    everywhere[:, kept] = rows
    name = _name(everywhere, np.array(wave_vectors), model)
    return _with_parts(model, name, everywhere, np.array(wave_vectors), np.array(scale), largest)


def order_of_state(model: HeisenbergModel, moments: ArrayLike, *, name: str = "given state") -> MagneticOrder:
    """Order parameter of a given state: how much of it is left, up to a common rotation.

    Parameters
    ----------
    model
        Its cell holds the magnetic structure.
    moments
        (n, 3), or (n,) along z; collinear or not. Directions are taken, magnitudes are the model's.
    name
        For the result.

    Notes
    -----
    For the directions e⁰ of the state, the matrix Ψ_ab = Σ_i |m_i| e_ia e⁰_ib grows with the order; its Frobenius norm
    does not change when all moments turn together.
    """
    values = as_finite(moments, "moments")
    if values.ndim == 1:
        values = values[:, None] * np.array([0.0, 0.0, 1.0])
    if values.shape != (len(model), 3):
        raise InputError(f"moments have shape {values.shape}; allowed for {len(model)} sites: (n, 3) or (n,).")
    length = np.linalg.norm(values, axis=1)
    if not np.any(length * model.magnitudes):
        raise InputError("moments are zero on all magnetic sites; an order needs directions.")
    e = np.where(model.magnitudes[:, None] > 0, values, 0.0) / np.where(length > 0.0, length, 1.0)[:, None]
    overlap = np.einsum("i,ia,ib->ab", model.magnitudes, e, e)  # Σ |m| e⁰ e⁰ᵀ
    share, axes = np.linalg.eigh(overlap)
    used = share > 1e-8 * share.sum()
    weights = (e @ axes[:, used]).T
    saturation = np.abs(weights) @ model.magnitudes
    scale = saturation / np.linalg.norm(share[used])
    return _with_parts(model, name, weights.astype(complex), np.zeros((len(weights), 3)), scale, float("nan"))


def coupled_axes(model: HeisenbergModel) -> NDArray[np.bool_]:
    """Periodic directions along which exchange connects cells; across a vacuum it does not."""
    strong = model.bonds.tensor.any(axis=(1, 2))
    return np.asarray(model.pbc & model.bonds.image[strong].any(axis=0))


def _with_parts(
    model: HeisenbergModel, name: str, weights: Complex, wave_vectors: Array, scale: Array, exchange: float
) -> MagneticOrder:
    """Add the sublattices (same species, length and weights) and the net moment where they tell more."""
    magnetic = model.magnitudes > 0
    used = magnetic & (np.abs(weights).max(axis=0) > 0)
    moment = float(model.magnitudes[used].sum() / np.count_nonzero(magnetic))
    keys = np.column_stack([model.numbers, model.magnitudes, weights.T.real, weights.T.imag])[magnetic].round(6)
    kinds, member = np.unique(keys, axis=0, return_inverse=True)
    if wave_vectors.any() or not 1 < len(kinds) <= _MOST_PARTS:
        return MagneticOrder(name, weights, wave_vectors, scale, moment, (), exchange)
    rows = np.zeros((len(kinds) + 1, len(model)), dtype=complex)
    rows[member.ravel(), np.flatnonzero(magnetic)] = 1.0
    rows[-1, magnetic] = 1.0
    parts = [f"{chemical_symbols[int(kind[0])]} {kind[1]:g} µB ({k + 1})" for k, kind in enumerate(kinds)]
    return MagneticOrder(
        name,
        np.concatenate([weights, rows]),
        np.concatenate([wave_vectors, np.zeros((len(rows), 3))]),
        np.concatenate([scale, np.zeros(len(rows))]),
        moment,
        (*parts, "net moment"),
        exchange,
    )


def _exchange(model: HeisenbergModel, kept: NDArray[np.int64]) -> FourierSum:
    """Isotropic J_ij(q) between the kept sites."""
    new = np.full(len(model), -1)
    new[kept] = np.arange(len(kept))
    bonds = model.bonds
    inside = (new[bonds.i] >= 0) & (new[bonds.j] >= 0)
    isotropic = np.einsum("baa->b", bonds.tensor[inside]) / 3
    return FourierSum(
        new[bonds.i[inside]], new[bonds.j[inside]], bonds.image[inside], isotropic, (len(kept), len(kept))
    )


def _mesh(axes: NDArray[np.bool_], n: int) -> tuple[int, int, int]:
    """Points along the axes that count: as many as the number of sites allows, and divisible by 2 in any case."""
    allowed = [m for m in (_MESH, 6, 4, 2) if m ** np.count_nonzero(axes) * n**2 <= _LARGEST_MESH_WORK]
    a, b, c = (int(x) for x in np.where(axes, max(allowed, default=2), 1))
    return a, b, c


def _local_maxima(values: Array) -> NDArray[np.bool_]:
    """Points of a periodic grid that no neighbour (diagonal ones included) exceeds."""
    result = np.ones(values.shape, dtype=bool)
    for shift in product((-1, 0, 1), repeat=3):
        result &= values >= np.roll(values, shift, axis=(0, 1, 2)) - 1e-9 * np.abs(values).max()
    return result


def _one_of_each_pair(q: Array) -> Array:
    """Wave vectors without those that are minus an earlier one."""
    kept: list[Array] = []
    for point in q:
        if not any(np.abs(point + other - np.rint(point + other)).max() < 1e-9 for other in kept):
            kept.append(point)
    return np.array(kept).reshape(-1, 3)


def _patterns(matrix: Complex, magnitudes: Array, q: Array) -> tuple[Complex, Array]:
    """Weights (g, n) of the leading eigenspace of J(q), and the factors (g,) that make the perfect pattern 1."""
    value, vector = np.linalg.eigh(matrix)
    space = vector[:, value >= value[-1] - 1e-6 * abs(value[-1])].T
    real = np.abs(2 * q - np.rint(2 * q)).max() < 1e-9
    factor = 1.0 if real else np.sqrt(2.0)  # a helix has |ψ| = 1/√2
    if len(space) == 1:
        row = space[0] * np.exp(-1j * np.angle(space[0][np.argmax(np.abs(space[0]))]))
        phase = np.where(np.abs(row) > 1e-3 * np.abs(row).max(), row / np.maximum(np.abs(row), 1e-300), 0.0)
        return phase[None], np.array([factor])
    # several patterns of equal energy: ψ_g = Σ_i u_gi e_i, and Σ_g |ψ_g|² does not depend on the basis
    taking_part = np.count_nonzero(np.abs(space).max(axis=0) > 1e-6)
    weights = np.asarray(space / magnitudes, dtype=complex)
    return weights, np.asarray(factor * np.abs(space).sum(axis=1) / np.sqrt(taking_part))


def _name(weights: Complex, wave_vectors: Array, model: HeisenbergModel) -> str:
    """Name of the first pattern, and how many wave vectors there are."""
    arms = len(np.unique(wave_vectors, axis=0))
    first = weights[(wave_vectors == wave_vectors[0]).all(axis=1)]
    return _pattern_name(first, wave_vectors[0], model) + (f", {arms} arms" if arms > 1 else "")


def _pattern_name(weights: Complex, q: Array, model: HeisenbergModel) -> str:
    if q.any():
        return f"wave vector ({' '.join(str(_fraction(x)) for x in q)})"
    if len(weights) > 1:
        return f"{len(weights)} degenerate patterns at q = 0"
    phases = weights[0][np.abs(weights[0]) > 0]
    if np.abs(phases - phases[0]).max() < 1e-6:
        return "ferromagnet"
    if np.abs(phases.imag).max() > 1e-6:
        return "pattern at q = 0"
    total = float(np.abs(np.real(weights[0]) @ model.magnitudes))
    return "antiferromagnet" if total < 1e-6 * model.magnitudes.sum() else "ferrimagnet"


def _fraction(x: float) -> Fraction:
    return Fraction(float(x)).limit_denominator(_MESH)
