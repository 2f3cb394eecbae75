"""Picture of moments: arrows in three dimensions, coloured by direction."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from ase import Atoms

from deepspin_ase.moments import get_moments
from deepspin_ase.vectors import Array, as_finite, perpendicular
from deepspin_plugins.spin_dynamics.evaluation import magnetic_atoms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

_POLES: Final = np.array(  # RGB of the directions +x, -x, +y, -y, +z, -z
    [
        [[0.93, 0.60, 0.00], [0.00, 0.62, 0.45]],
        [[0.62, 0.25, 0.70], [0.55, 0.40, 0.20]],
        [[0.84, 0.12, 0.12], [0.10, 0.33, 0.80]],
    ]
)
_MOST_ARROWS: Final = 3000


def direction_colors(vectors: ArrayLike) -> Array:
    """RGB colour of directions: one colour for each of ±x, ±y, ±z, smoothly mixed between them (weights n_k²).

    Parameters
    ----------
    vectors
        (n, 3), any lengths; zero vectors are grey.

    Returns
    -------
    ndarray
        (n, 3), between 0 and 1.
    """
    array = as_finite(vectors, "vectors")
    length = np.linalg.norm(array, axis=-1, keepdims=True)
    unit = array / np.where(length > 0.0, length, 1.0)
    pole = _POLES[np.arange(3), (unit < 0.0).astype(int)]  # (n, 3 axes, RGB)
    colors = np.einsum("nk,nkc->nc", unit**2, pole)
    return np.where(length > 0.0, colors, 0.6)


def plot_moments(atoms: Atoms, ax: Axes | None = None, *, title: str = "") -> Axes:
    """Moments as arrows in three dimensions, coloured by direction, with the cell and a key of the colours.

    Parameters
    ----------
    atoms
        Structure with moments; atoms without one are grey dots. Of more than 3000 moments evenly chosen ones are drawn.
    ax
        Axes with ``projection="3d"``; new ones by default.
    title
        Above the picture.

    Returns
    -------
    Axes
        ``ax.figure.savefig("moments.png")`` writes the picture.
    """
    axes: Any = ax
    if axes is None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.5, 6.5))
        axes = figure.add_axes((0.12, 0.0, 0.88, 0.94), projection="3d", computed_zorder=False, proj_type="ortho")
    magnetic = magnetic_atoms(atoms)
    stride = int(np.ceil(len(magnetic) / _MOST_ARROWS))
    shown = magnetic[::stride]
    moments, place = get_moments(atoms)[shown], atoms.positions[shown]
    arrows = 0.9 * _spacing(place) * moments / np.linalg.norm(moments, axis=1).max()
    _draw_cell(axes, atoms)
    _draw_arrows(axes, place - 0.5 * arrows, arrows, direction_colors(moments))
    others = np.setdiff1d(np.arange(len(atoms)), magnetic)[::stride]
    if len(others):
        size = float(np.clip(60.0 / len(shown) ** (2 / 3), 1.0, 40.0))
        axes.scatter(*atoms.positions[others].T, color="0.75", s=size, depthshade=False)
    corners = np.concatenate([_corners(atoms), place - 0.5 * arrows, place + 0.5 * arrows])
    low, high = corners.min(axis=0), corners.max(axis=0)
    span = np.maximum(high - low, 0.15 * float((high - low).max()))
    middle = (low + high) / 2
    axes.set(xlim=_around(middle, span, 0), ylim=_around(middle, span, 1), zlim=_around(middle, span, 2))
    axes.set_box_aspect(span, zoom=1.05)
    axes.set_axis_off()
    _draw_key(axes)
    note = f" (one of {stride} moments shown)" if stride > 1 else ""
    axes.set_title(f"{title}{note}", fontsize=11)
    return axes


def _spacing(place: Array) -> float:
    """Typical distance of the atoms, Å."""
    if len(place) < 2:
        return 2.5
    from scipy.spatial import cKDTree

    nearest = cKDTree(place).query(place, k=2)[0][:, 1]
    return float(np.clip(np.median(nearest), 1.0, 20.0))


def _draw_arrows(axes: Any, start: Array, arrows: Array, colors: Array) -> None:
    """Solid arrows (a cylinder and a cone each) in one collection, which sorts the facets by depth."""
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection  # type: ignore[import-untyped]

    sides = 12 if len(arrows) < 100 else 6
    mesh = _arrow_mesh(sides)  # (facets, 4 corners, 3) along z, of length 1
    frames = np.array([_frame_along(arrow) for arrow in arrows])  # rows: two axes across, and the arrow itself
    facets = start[:, None, None] + np.einsum("fcx,nxy->nfcy", mesh, frames)
    normals = np.cross(facets[:, :, 1] - facets[:, :, 0], facets[:, :, 2] - facets[:, :, 1])
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-300)
    light = _towards_viewer(axes) + np.array([0.0, 0.0, 0.6])
    bright = 0.72 + 0.28 * np.clip(normals @ (light / np.linalg.norm(light)), -1.0, 1.0)
    shaded = np.clip(colors[:, None] * bright[..., None] + 0.25 * np.maximum(bright - 0.85, 0.0)[..., None], 0.0, 1.0)
    axes.add_collection3d(Poly3DCollection(facets.reshape(-1, 4, 3), facecolors=shaded.reshape(-1, 3), linewidths=0))


def _arrow_mesh(sides: int) -> Array:
    """Facets of an arrow from 0 to z = 1: shaft, ring and cone, as quadrilaterals."""
    angle = 2.0 * np.pi * np.arange(sides + 1) / sides
    circle = np.column_stack([np.cos(angle), np.sin(angle), np.zeros(sides + 1)])
    z = np.array([0.0, 0.0, 1.0])
    foot, neck, brim = 0.055 * circle, 0.055 * circle + 0.55 * z, 0.16 * circle + 0.55 * z
    tip = np.broadcast_to(z, brim.shape)
    center = np.zeros_like(foot)
    bands = [(center, foot), (foot, neck), (neck, brim), (brim, tip)]
    return np.concatenate([np.stack([a[:-1], a[1:], b[1:], b[:-1]], axis=1) for a, b in bands])


def _frame_along(arrow: Array) -> Array:
    """Two vectors across an arrow, as long as it, and the arrow."""
    length = np.linalg.norm(arrow)
    across = length * perpendicular(arrow / length)
    return np.array([across, np.cross(arrow / length, across), arrow])


def _towards_viewer(axes: Any) -> Array:
    azimuth, elevation = np.deg2rad(axes.azim), np.deg2rad(axes.elev)
    across = np.cos(elevation)
    return np.array([across * np.cos(azimuth), across * np.sin(azimuth), np.sin(elevation)])


def _corners(atoms: Atoms) -> Array:
    """Corners of the cell if there is one, (c, 3), and the atoms."""
    if atoms.cell.rank == 0:
        return atoms.positions
    used = atoms.cell.array * (atoms.pbc | (atoms.cell.rank == 3))[:, None]
    return np.concatenate([np.array(list(product((0, 1), repeat=3))) @ used, atoms.positions])


def _draw_cell(axes: Any, atoms: Atoms) -> None:
    """Edges of the cell along its periodic directions."""
    used = [k for k in range(3) if atoms.pbc[k]]
    for along in used:
        for rest in product((0, 1), repeat=len(used) - 1):
            others = [k for k in used if k != along]
            start = sum((n * atoms.cell.array[k] for n, k in zip(rest, others, strict=True)), np.zeros(3))
            axes.plot(*np.array([start, start + atoms.cell.array[along]]).T, color="0.8", linewidth=0.8, zorder=0)


def _draw_key(axes: Any) -> None:
    """Six arrows with the colours of their directions in a corner, seen from the same side."""
    key = axes.figure.add_axes((0.0, 0.0, 0.2, 0.2), projection="3d", proj_type="ortho")
    ends = np.concatenate([np.eye(3), -np.eye(3)])
    colors = direction_colors(ends)
    _draw_arrows(key, np.zeros((6, 3)), ends, colors)
    for end, color, name in zip(ends, colors, ("x", "y", "z", "−x", "−y", "−z"), strict=True):
        key.text(*(1.4 * end), name, color=color, ha="center", va="center", fontsize=8)
    key.view_init(elev=axes.elev, azim=axes.azim)
    key.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1))
    key.set_axis_off()
    key.patch.set_alpha(0.0)


def _around(middle: Array, span: Array, k: int) -> tuple[float, float]:
    return float(middle[k] - 0.5 * span[k]), float(middle[k] + 0.5 * span[k])
