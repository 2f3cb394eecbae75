"""Neighbour lists: against a direct sum over images, and their reuse."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from deepspin_ase import set_moments
from deepspin_ase.errors import InputError
from deepspin_ase.graph import GraphCache, build_graph, find_neighbours
from deepspin_ase.model.neighbours import neighbour_table

CUTOFF = 4.3


def brute_force(atoms: Atoms, cutoff: float) -> list[tuple[int, int, float]]:
    """(i, j, distance) of all pairs, by looking at every image within reach."""
    pbc, cell = atoms.pbc, atoms.cell.array
    reach = [0, 0, 0]
    if pbc.any():
        span = np.ptp(atoms.positions, axis=0).max() + cutoff
        full = atoms.cell.copy()
        full[~pbc] = 0
        heights = 1.0 / np.linalg.norm(full.complete().reciprocal().array, axis=1)
        reach = [int(np.ceil(span / heights[k])) + 1 if pbc[k] else 0 for k in range(3)]
    pairs = []
    for image in itertools.product(*(range(-r, r + 1) for r in reach)):
        vectors = atoms.positions[None] + np.array(image) @ cell - atoms.positions[:, None]
        distances = np.linalg.norm(vectors, axis=2)
        for i, j in zip(*np.nonzero(distances < cutoff), strict=True):
            if not (i == j and image == (0, 0, 0)):
                pairs.append((int(i), int(j), float(distances[i, j])))
    return sorted(pairs)


def structures() -> dict[str, Atoms]:
    rng = np.random.default_rng(3)
    one = bulk("Fe", "bcc", a=2.8665)
    left = one.copy()
    left.set_cell(-one.cell.array, scale_atoms=True)
    skewed = Atoms(
        "Fe2", positions=[[0, 0, 0], [1.7, 1.1, 0.9]], cell=[[2.6, 0, 0], [5.1, 2.7, 0], [-5, 1, 2.5]], pbc=1
    )
    slab = Atoms("Fe3", positions=rng.uniform(0, 3, (3, 3)), cell=[3, 3.2, 20], pbc=[True, True, False])
    layer = Atoms("Fe2", positions=[[0, 0, 0], [1.4, 1.4, 1.0]], cell=[2.8, 2.8, 0], pbc=[1, 1, 0])
    wire = Atoms("Fe2", positions=[[0, 0, 0], [0.4, 1.0, 1.2]], cell=[[0, 0, 0], [0, 0, 0], [0, 0, 2.3]], pbc=[0, 0, 1])
    outside = bulk("NiO", "rocksalt", a=4.17)
    outside.positions += 37.0
    cluster = Atoms("Fe5", positions=rng.uniform(0, 6, (5, 3)))
    apart = Atoms("Fe2", positions=[[0, 0, 0], [0, 0, 30.0]])
    return {
        "one atom": one,
        "left-handed": left,
        "skewed": skewed,
        "slab": slab,
        "layer without a third vector": layer,
        "wire": wire,
        "atoms outside the cell": outside,
        "cluster": cluster,
        "isolated atoms": apart,
    }


@pytest.mark.parametrize("name", list(structures()))
def test_pairs_equal_a_direct_sum_over_images(name: str) -> None:
    atoms = structures()[name]
    centre, neighbour, image = find_neighbours(atoms, CUTOFF)
    vectors = atoms.positions[neighbour] + image @ atoms.cell.array - atoms.positions[centre]
    found = sorted(
        (int(i), int(j), float(d)) for i, j, d in zip(centre, neighbour, np.linalg.norm(vectors, axis=1), strict=True)
    )
    expected = brute_force(atoms, CUTOFF)
    assert [p[:2] for p in found] == [p[:2] for p in expected]
    np.testing.assert_allclose([p[2] for p in found], [p[2] for p in expected], atol=1e-10)
    assert np.all(np.diff(centre) >= 0)


def test_table_holds_every_edge_once() -> None:
    atoms = structures()["slab"]
    graph = build_graph(atoms, CUTOFF)
    table = neighbour_table(graph)
    assert int(table.mask.sum()) == graph.num_edges
    row, slot = table.mask.nonzero(as_tuple=True)
    vectors = graph.pos[table.neighbours[row, slot]] + table.shift[row, slot] - graph.pos[row]
    expected = [p[2] for p in brute_force(atoms, CUTOFF)]
    np.testing.assert_allclose(np.sort(vectors.norm(dim=1).numpy()), np.sort(expected), atol=1e-10)


@pytest.mark.parametrize("cell", [[[0, 0, 0]] * 3, [[3, 0, 0], [6, 0, 0], [0, 0, 3]]])
def test_singular_periodic_cell_is_refused(cell: list[list[float]]) -> None:
    with pytest.raises(InputError, match="linearly dependent"):
        find_neighbours(Atoms("Fe", cell=cell, pbc=True), CUTOFF)


def test_search_is_repeated_only_after_half_a_skin(rng: np.random.Generator) -> None:
    atoms = bulk("Fe", "fcc", a=3.55, cubic=True) * 2
    cache = GraphCache(CUTOFF, 0.6)
    for _ in range(5):
        atoms.positions += rng.uniform(-0.03, 0.03, (len(atoms), 3))
        reused = cache(atoms)
        fresh = build_graph(atoms, CUTOFF)
        assert sorted(map(tuple, reused.edge_index.T.tolist())) == sorted(map(tuple, fresh.edge_index.T.tolist()))
    assert cache.searches == 1
    atoms.positions[3, 1] += 0.35
    assert cache(atoms).num_edges == build_graph(atoms, CUTOFF).num_edges
    assert cache.searches == 2


def test_only_moments_are_renewed_at_fixed_positions() -> None:
    atoms = bulk("Fe", "fcc", a=3.55, cubic=True)
    cache = GraphCache(CUTOFF, 0.5)
    first = cache(atoms)
    set_moments(atoms, [[0.0, 0.0, 1.5]] * 4)
    second = cache(atoms)
    assert second.edge_index is first.edge_index
    assert second.moments[:, 2].tolist() == [1.5] * 4
    assert first.moments[0, 2] != 1.5


@pytest.mark.parametrize("change", ["cell", "pbc", "species", "atoms"])
def test_search_is_repeated_after_other_changes(change: str) -> None:
    atoms = bulk("Fe", "fcc", a=3.55, cubic=True)
    cache = GraphCache(CUTOFF, 0.5)
    cache(atoms)
    if change == "cell":
        atoms.set_cell(atoms.cell.array * 1.01)
    elif change == "pbc":
        atoms.pbc = [True, True, False]
    elif change == "species":
        atoms.numbers[0] = 28
    else:
        atoms = atoms[:3]
    graph = cache(atoms)
    fresh = build_graph(atoms, CUTOFF)
    assert cache.searches == 2
    assert graph.num_edges == fresh.num_edges
    assert graph.z.tolist() == fresh.z.tolist()
