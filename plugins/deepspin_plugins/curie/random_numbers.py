"""Random numbers inside compiled loops: xoshiro256++ in eight lanes, which the compiler turns into vector code.

Blackman and Vigna, ACM Trans. Math. Softw. 47, 36 (2021).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepspin_plugins.curie.lattice import compiled

LANES = 8

_U = np.uint64
_TO_UNIT = 2.0**-53


def generator_states(seed: int, count: int) -> NDArray[np.uint64]:
    """States of independent generators, (count, 4, 8)."""
    children = np.random.SeedSequence(seed).spawn(count)
    return np.stack([child.generate_state(4 * LANES, np.uint64).reshape(4, LANES) for child in children])


@compiled
def fill_uniform(state, out, n):  # type: ignore[no-untyped-def]
    """Numbers in [0, 1) into out[:n], for n a multiple of the number of lanes."""
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    for k in range(0, n, LANES):
        for lane in range(LANES):
            a, b, c, d = s0[lane], s1[lane], s2[lane], s3[lane]
            total = a + d
            value = ((total << _U(23)) | (total >> _U(41))) + a
            shifted = b << _U(17)
            c ^= a
            d ^= b
            b ^= c
            a ^= d
            c ^= shifted
            d = (d << _U(45)) | (d >> _U(19))
            s0[lane], s1[lane], s2[lane], s3[lane] = a, b, c, d
            out[k + lane] = np.float64(np.int64(value >> _U(11))) * _TO_UNIT
