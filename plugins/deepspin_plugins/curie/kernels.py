"""Compiled sweeps: fields of a batch of sites of one colour, trial directions for all of them, acceptance, storage.

With h_i = Σ_j J_ij e_j + µB m_i B the energy of a spin in the field of the others is

    E_i = -e_i·h_i - e_i·K_i·e_i - Σ_j B_ij (e_i·e_j)².

Without the last two terms heat bath and overrelaxation need no acceptance; with them their trials, which are in
balance with the first term, are accepted with min(1, exp(-βΔ)) of the change Δ of the other terms, which is exact, too.

Metropolis: trial directions in a cone about the spin, evenly over the cap, or (one of sixteen) the opposite direction,
which crosses the barrier of an easy axis (Hinzke and Nowak, Comput. Phys. Commun. 121, 334 (1999)).
"""

from __future__ import annotations

import math

import numpy as np

from deepspin_plugins.curie.cluster import flip_cluster
from deepspin_plugins.curie.directions import (
    ACCEPT,
    AZIMUTH,
    BATCH,
    COSINE,
    ROWS,
    X,
    Y,
    Z,
    heat_bath_cosines,
    turn_about_axes,
)
from deepspin_plugins.curie.lattice import compiled
from deepspin_plugins.curie.random_numbers import LANES, fill_uniform

HEAT_BATH, METROPOLIS, OVERRELAXATION = range(3)
_OPPOSITE = 1.0 / 16.0  # share of Metropolis trials that turn a spin round


@compiled
def isotropic_fields(sites, kinds, first, neighbours, bounds, exchange, zeeman, e, fields):  # type: ignore[no-untyped-def]
    """h_i = Σ_j J_ij e_j + µB m_i B of some sites, eV, into fields (3, at least len(sites))."""
    for k in range(len(sites)):
        i = sites[k]
        kind, start = kinds[i], first[i]
        begin = bounds[kind]
        h0, h1, h2 = zeeman[kind, 0], zeeman[kind, 1], zeeman[kind, 2]
        for b in range(bounds[kind + 1] - begin):
            j, c = neighbours[start + b], exchange[begin + b]
            h0 += c * e[j, 0]
            h1 += c * e[j, 1]
            h2 += c * e[j, 2]
        fields[0, k], fields[1, k], fields[2, k] = h0, h1, h2


@compiled
def tensor_fields(sites, kinds, first, neighbours, bounds, tensor, zeeman, e, fields):  # type: ignore[no-untyped-def]
    """The same for tensors J_ij."""
    for k in range(len(sites)):
        i = sites[k]
        kind, start = kinds[i], first[i]
        begin = bounds[kind]
        h0, h1, h2 = zeeman[kind, 0], zeeman[kind, 1], zeeman[kind, 2]
        for b in range(begin, bounds[kind + 1]):
            j = neighbours[start - begin + b]
            u, v, w = e[j, 0], e[j, 1], e[j, 2]
            h0 += tensor[b, 0, 0] * u + tensor[b, 0, 1] * v + tensor[b, 0, 2] * w
            h1 += tensor[b, 1, 0] * u + tensor[b, 1, 1] * v + tensor[b, 1, 2] * w
            h2 += tensor[b, 2, 0] * u + tensor[b, 2, 1] * v + tensor[b, 2, 2] * w
        fields[0, k], fields[1, k], fields[2, k] = h0, h1, h2


@compiled
def onsite_energy(anisotropy, kind, x, y, z):  # type: ignore[no-untyped-def]
    """-e·K·e, eV."""
    across = anisotropy[kind, 0, 1] * x * y + anisotropy[kind, 0, 2] * x * z + anisotropy[kind, 1, 2] * y * z
    along = anisotropy[kind, 0, 0] * x * x + anisotropy[kind, 1, 1] * y * y + anisotropy[kind, 2, 2] * z * z
    return -(along + 2.0 * across)


@compiled
def biquadratic_energy(neighbours, biquadratic, begin, end, start, e, x, y, z):  # type: ignore[no-untyped-def]
    """-Σ_j B_ij (e·e_j)², eV, for the direction e = (x, y, z)."""
    energy = 0.0
    for b in range(begin, end):
        j = neighbours[start + b - begin]
        cosine = x * e[j, 0] + y * e[j, 1] + z * e[j, 2]
        energy -= biquadratic[b] * cosine * cosine
    return energy


@compiled
def total_energy(lattice, e):  # type: ignore[no-untyped-def]
    """Energy of the supercell, eV."""
    kinds, first, neighbours, bounds = lattice.kind, lattice.first, lattice.neighbours, lattice.bounds
    fields, energy = np.zeros((3, len(e))), lattice.offset
    if lattice.isotropic:
        isotropic_fields(lattice.order, kinds, first, neighbours, bounds, lattice.exchange, lattice.zeeman, e, fields)
    else:
        tensor_fields(lattice.order, kinds, first, neighbours, bounds, lattice.tensor, lattice.zeeman, e, fields)
    for k, i in enumerate(lattice.order):
        kind = kinds[i]
        x, y, z = e[i, 0], e[i, 1], e[i, 2]
        field = lattice.zeeman[kind]
        energy -= 0.5 * (x * (fields[0, k] + field[0]) + y * (fields[1, k] + field[1]) + z * (fields[2, k] + field[2]))
        if lattice.anisotropic:
            energy += onsite_energy(lattice.anisotropy, kind, x, y, z)
        if lattice.quartic:
            begin, end = bounds[kind], bounds[kind + 1]
            energy += 0.5 * biquadratic_energy(neighbours, lattice.biquadratic, begin, end, first[i], e, x, y, z)
    return energy


@compiled
def sweep_pass(lattice, e, beta, move, cone, random, fields, batch, bits):  # type: ignore[no-untyped-def]
    """Try to turn every spin once; return the change of energy (eV) and the number of accepted trials.

    ``cone`` is the cosine of the half angle of the Metropolis cone; ``fields`` (3, BATCH), ``batch`` and ``bits`` are
    workspace.
    """
    kinds, first, neighbours, bounds = lattice.kind, lattice.first, lattice.neighbours, lattice.bounds
    order, colours, zeeman = lattice.order, lattice.colours, lattice.zeeman
    selective = move == METROPOLIS or lattice.anisotropic or lattice.quartic
    change, accepted = 0.0, 0
    for colour in range(len(colours) - 1):
        for start in range(colours[colour], colours[colour + 1], BATCH):
            sites = order[start : min(start + BATCH, colours[colour + 1])]
            if lattice.isotropic:
                isotropic_fields(sites, kinds, first, neighbours, bounds, lattice.exchange, zeeman, e, fields)
            else:
                tensor_fields(sites, kinds, first, neighbours, bounds, lattice.tensor, zeeman, e, fields)
            _propose(sites, e, beta, move, cone, random, fields, batch, bits)
            if selective:
                gained, count = _select(lattice, sites, e, beta, move == METROPOLIS, random, fields, batch)
            else:
                gained, count = _take(sites, e, fields, batch), len(sites)
            change += gained
            accepted += count
    return change, accepted


@compiled
def _propose(sites, e, beta, move, cone, random, fields, batch, bits):  # type: ignore[no-untyped-def]
    """Trial directions of some sites."""
    if move == HEAT_BATH:
        for a in range(3):
            axis, field = batch[a], fields[a]
            for k in range(len(sites)):
                axis[k] = field[k]
    else:
        for k in range(len(sites)):
            i = sites[k]
            batch[X, k], batch[Y, k], batch[Z, k] = e[i, 0], e[i, 1], e[i, 2]
    if move == OVERRELAXATION:
        _reflect(fields, batch, len(sites))
        return
    n = (len(sites) + LANES - 1) // LANES * LANES
    fill_uniform(random, batch[COSINE], n)
    fill_uniform(random, batch[AZIMUTH], n)
    if move == HEAT_BATH:
        heat_bath_cosines(batch, bits, beta, n)
    else:
        cosine = batch[COSINE]
        for k in range(n):
            in_cap = 1.0 - (1.0 - cone) * (cosine[k] - _OPPOSITE) / (1.0 - _OPPOSITE)
            cosine[k] = -1.0 if cosine[k] < _OPPOSITE else in_cap
    turn_about_axes(batch, n)


@compiled
def _reflect(fields, batch, n):  # type: ignore[no-untyped-def]
    """Turn directions about the fields by 180°; without a field turn them round."""
    h, g, f = fields[0], fields[1], fields[2]
    x, y, z = batch[X], batch[Y], batch[Z]
    for k in range(n):
        square = h[k] * h[k] + g[k] * g[k] + f[k] * f[k]
        scale = 2.0 * (h[k] * x[k] + g[k] * y[k] + f[k] * z[k]) / max(square, 1e-300)
        x[k] = scale * h[k] - x[k]
        y[k] = scale * g[k] - y[k]
        z[k] = scale * f[k] - z[k]


@compiled
def _take(sites, e, fields, batch):  # type: ignore[no-untyped-def]
    """Store all trials; return the change of energy."""
    change = 0.0
    for k in range(len(sites)):
        i = sites[k]
        x, y, z = batch[X, k], batch[Y, k], batch[Z, k]
        change -= fields[0, k] * (x - e[i, 0]) + fields[1, k] * (y - e[i, 1]) + fields[2, k] * (z - e[i, 2])
        e[i, 0], e[i, 1], e[i, 2] = x, y, z
    return change


@compiled
def _select(lattice, sites, e, beta, metropolis, random, fields, batch):  # type: ignore[no-untyped-def]
    """Store accepted trials; return the change of energy and their number."""
    first, neighbours, bounds = lattice.first, lattice.neighbours, lattice.bounds
    anisotropy, biquadratic = lattice.anisotropy, lattice.biquadratic
    fill_uniform(random, batch[ACCEPT], (len(sites) + LANES - 1) // LANES * LANES)
    change, accepted = 0.0, 0
    for k in range(len(sites)):
        i = sites[k]
        kind = lattice.kind[i]
        x, y, z = batch[X, k], batch[Y, k], batch[Z, k]
        u, v, w = e[i, 0], e[i, 1], e[i, 2]
        linear = -(fields[0, k] * (x - u) + fields[1, k] * (y - v) + fields[2, k] * (z - w))
        other = 0.0
        if lattice.anisotropic:
            other += onsite_energy(anisotropy, kind, x, y, z) - onsite_energy(anisotropy, kind, u, v, w)
        if lattice.quartic:
            begin, end = bounds[kind], bounds[kind + 1]
            other += biquadratic_energy(neighbours, biquadratic, begin, end, first[i], e, x, y, z)
            other -= biquadratic_energy(neighbours, biquadratic, begin, end, first[i], e, u, v, w)
        cost = beta * (other + linear if metropolis else other)
        if cost <= 0.0 or batch[ACCEPT, k] < math.exp(-cost):
            e[i, 0], e[i, 1], e[i, 2] = x, y, z
            change += linear + other
            accepted += 1
    return change, accepted


@compiled
def measure_orders(rows, owner, e, out):  # type: ignore[no-untyped-def]
    """Absolute values |Σ_i w_i e_i| of order parameters given by real rows (r, N); two rows make a complex one."""
    out[:] = 0.0
    for r in range(len(rows)):
        s0 = s1 = s2 = 0.0
        for i in range(len(e)):
            w = rows[r, i]
            s0 += w * e[i, 0]
            s1 += w * e[i, 1]
            s2 += w * e[i, 2]
        out[owner[r]] += s0 * s0 + s1 * s1 + s2 * s2
    for p in range(len(out)):
        out[p] = math.sqrt(out[p])


@compiled
def advance(  # type: ignore[no-untyped-def]
    begin, end, lattice, passes, clusters, state, slots, betas, cones, sweeps, done, every, rows, owner, series
):
    """Sweep the replicas begin <= r < end.

    Parameters
    ----------
    passes
        Passes of heat bath, Metropolis and overrelaxation per sweep, (3,).
    clusters
        Wolff clusters per sweep.
    state
        Directions (R, N, 3), generators (R, 4, 8), energies (R,), numbers of accepted Metropolis trials (T,).
    slots, betas, cones
        Temperature of each replica (R,); 1/k_B T (1/eV, (T,)); cosines of the Metropolis cones (T,).
    sweeps, done, every
        Sweeps to do and done in this run; every so many of them are measured, never if 0.
    rows, owner
        Weights, see ``measure_orders``.
    series
        Energies (T, s) and order parameters (T, s, p) to write to.
    """
    spins, generators, energies, accepted_trials = state
    energy_series, order_series = series
    fields, batch, bits = np.zeros((3, BATCH)), np.zeros((ROWS, BATCH)), np.zeros(BATCH, dtype=np.int64)
    stack, member = np.empty(spins.shape[1], dtype=np.int32), np.zeros(spins.shape[1], dtype=np.bool_)
    for r in range(begin, end):
        e, random, slot = spins[r], generators[r], slots[r]
        beta, cone = betas[slot], cones[slot]
        for sweep in range(1, sweeps + 1):
            for move in (HEAT_BATH, METROPOLIS, OVERRELAXATION):
                for _ in range(passes[move]):
                    change, accepted = sweep_pass(lattice, e, beta, move, cone, random, fields, batch, bits)
                    energies[r] += change
                    if move == METROPOLIS:
                        accepted_trials[slot] += accepted
            for _ in range(clusters):
                energies[r] += flip_cluster(lattice, e, beta, random, batch[COSINE], stack, member)
            if every > 0 and (done + sweep) % every == 0:
                at = (done + sweep) // every - 1
                energy_series[slot, at] = energies[r]
                measure_orders(rows, owner, e, order_series[slot, at])


@compiled
def renew_energies(begin, end, lattice, spins, energies):  # type: ignore[no-untyped-def]
    """Energies from scratch, against the build-up of round-off."""
    for r in range(begin, end):
        energies[r] = total_energy(lattice, spins[r])
