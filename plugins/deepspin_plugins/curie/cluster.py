"""Wolff's cluster move for isotropic exchange: reflect a connected set of spins at a random plane.

U. Wolff, Phys. Rev. Lett. 62, 361 (1989). Bonds are activated with 1 - exp(-2β J_ij (r·e_i)(r·e_j)); valid for either
sign of J, quick where the exchange is not frustrated.
"""

from __future__ import annotations

import math

from deepspin_plugins.curie.lattice import compiled
from deepspin_plugins.curie.random_numbers import fill_uniform


@compiled
def flip_cluster(lattice, e, beta, random, numbers, stack, member):  # type: ignore[no-untyped-def]
    """Grow and reflect one cluster; return the change of energy, eV.

    ``numbers`` (a multiple of the generator's lanes), ``stack`` and ``member`` (n, all False) are workspace.
    """
    kinds, first, bounds = lattice.kind, lattice.first, lattice.bounds
    neighbours, exchange = lattice.neighbours, lattice.exchange
    fill_uniform(random, numbers, len(numbers))
    z, azimuth = 2.0 * numbers[0] - 1.0, 2.0 * math.pi * numbers[1]
    across = math.sqrt(max(0.0, 1.0 - z * z))
    x, y = across * math.cos(azimuth), across * math.sin(azimuth)
    seed = min(int(numbers[2] * len(e)), len(e) - 1)
    used = 3
    stack[0], member[seed] = seed, True
    size, at, change = 1, 0, 0.0
    while at < size:
        i = stack[at]
        at += 1
        own = x * e[i, 0] + y * e[i, 1] + z * e[i, 2]
        kind = kinds[i]
        begin = bounds[kind]
        shift = first[i] - begin
        for b in range(begin, bounds[kind + 1]):
            j = neighbours[shift + b]
            if member[j]:
                continue
            gain = 2.0 * exchange[b] * own * (x * e[j, 0] + y * e[j, 1] + z * e[j, 2])
            if gain <= 0.0:
                continue
            if used == len(numbers):
                fill_uniform(random, numbers, len(numbers))
                used = 0
            u = numbers[used]
            used += 1
            if u < beta * gain and u < 1.0 - math.exp(-beta * gain):
                member[j] = True
                stack[size] = j
                size += 1
    for at in range(size):
        i = stack[at]
        kind = kinds[i]
        begin = bounds[kind]
        shift = first[i] - begin
        own = x * e[i, 0] + y * e[i, 1] + z * e[i, 2]
        for b in range(begin, bounds[kind + 1]):
            j = neighbours[shift + b]
            if not member[j]:
                change += 2.0 * exchange[b] * own * (x * e[j, 0] + y * e[j, 1] + z * e[j, 2])
    for at in range(size):
        i = stack[at]
        own = 2.0 * (x * e[i, 0] + y * e[i, 1] + z * e[i, 2])
        e[i, 0] -= own * x
        e[i, 1] -= own * y
        e[i, 2] -= own * z
        member[i] = False
    return change
