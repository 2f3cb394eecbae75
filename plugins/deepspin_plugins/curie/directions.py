"""Batches of new directions about given axes, with series for exp, log, sin and cos so that loops become vector code.

A batch is an array (rows, BATCH); its rows are named below.

| row | before | after |
|---|---|---|
| X, Y, Z | field h (eV) or direction: the axis | new direction |
| COSINE | uniform number | cosine between axis and new direction |
| AZIMUTH | uniform number | |
| ACCEPT | uniform number of the acceptance, not used here | |
"""

from __future__ import annotations

import math

import numpy as np

from deepspin_plugins.curie.lattice import compiled

BATCH = 64
X, Y, Z, COSINE, AZIMUTH, ACCEPT, ROWS = range(7)

_LN2, _LOG2E = math.log(2.0), 1.0 / math.log(2.0)
_BIAS, _MANTISSA_BITS = 1023, 52
_SQRT_HALF_BITS = int(np.float64(math.sqrt(0.5)).view(np.int64))
_SMALL = 1e-5  # of β|h|: below, the inverse of the distribution is expanded


@compiled
def heat_bath_cosines(batch, bits, beta, n):  # type: ignore[no-untyped-def]
    """Cosine c with density ∝ exp(x c), x = β|h|: c = 1 + ln(u + (1-u) exp(-2x))/x.

    ``bits`` is int64 workspace of the length of a batch; floats and their bits share it.
    """
    hx, hy, hz, u = batch[X], batch[Y], batch[Z], batch[COSINE]
    value = bits.view(np.float64)
    for k in range(n):
        y = max(-2.0 * beta * math.sqrt(hx[k] * hx[k] + hy[k] * hy[k] + hz[k] * hz[k]), -700.0)
        power = math.floor(y * _LOG2E + 0.5)
        r = y - power * _LN2
        series = 1.0 + r / 11.0
        series = 1.0 + r / 10.0 * series
        series = 1.0 + r / 9.0 * series
        series = 1.0 + r / 8.0 * series
        series = 1.0 + r / 7.0 * series
        series = 1.0 + r / 6.0 * series
        series = 1.0 + r / 5.0 * series
        series = 1.0 + r / 4.0 * series
        series = 1.0 + r / 3.0 * series
        series = 1.0 + r / 2.0 * series
        series = 1.0 + r * series
        bits[k] = (np.int64(power) + _BIAS) << _MANTISSA_BITS
        value[k] = u[k] + (1.0 - u[k]) * series * value[k]
    for k in range(n):
        # value = 2^power · m with m between √½ and √2; ln m = 2 artanh s, s = (m - 1)/(m + 1)
        power = (bits[k] - _SQRT_HALF_BITS) >> _MANTISSA_BITS
        bits[k] -= power << _MANTISSA_BITS
        s = (value[k] - 1.0) / (value[k] + 1.0)
        t = s * s
        series = 1 / 15 + t * (1 / 17)
        series = 1 / 13 + t * series
        series = 1 / 11 + t * series
        series = 1 / 9 + t * series
        series = 1 / 7 + t * series
        series = 1 / 5 + t * series
        series = 1 / 3 + t * series
        logarithm = np.float64(power) * _LN2 + 2.0 * s * (1.0 + t * series)
        x = beta * math.sqrt(hx[k] * hx[k] + hy[k] * hy[k] + hz[k] * hz[k])
        flat = 2.0 * u[k] - 1.0
        expanded = flat + 0.5 * x * (1.0 - flat * flat)
        u[k] = expanded if x < _SMALL else 1.0 + logarithm / max(x, _SMALL)


@compiled
def turn_about_axes(batch, n):  # type: ignore[no-untyped-def]
    """Directions at given cosines from the axes, at azimuths 2π AZIMUTH."""
    ax, ay, az, cosine, azimuth = batch[X], batch[Y], batch[Z], batch[COSINE], batch[AZIMUTH]
    for k in range(n):
        # series for an angle of at most π/4, doubled twice
        angle = math.pi * (0.5 * azimuth[k] - 0.25)
        t = angle * angle
        sine = 1.0 - t / 156.0
        sine = 1.0 - t / 110.0 * sine
        sine = 1.0 - t / 72.0 * sine
        sine = 1.0 - t / 42.0 * sine
        sine = 1.0 - t / 20.0 * sine
        sine = angle * (1.0 - t / 6.0 * sine)
        cosine_4 = 1.0 - t / 182.0
        cosine_4 = 1.0 - t / 132.0 * cosine_4
        cosine_4 = 1.0 - t / 90.0 * cosine_4
        cosine_4 = 1.0 - t / 56.0 * cosine_4
        cosine_4 = 1.0 - t / 30.0 * cosine_4
        cosine_4 = 1.0 - t / 12.0 * cosine_4
        cosine_4 = 1.0 - t / 2.0 * cosine_4
        sine, half = 2.0 * sine * cosine_4, 1.0 - 2.0 * sine * sine
        sine, half = 2.0 * sine * half, 1.0 - 2.0 * sine * sine
        c = cosine[k]
        across = math.sqrt(max(0.0, 1.0 - c * c))
        a, b = across * half, across * sine
        # frame of two vectors across the axis (Duff et al., J. Comput. Graph. Tech. 6, 1 (2017))
        length = math.sqrt(ax[k] * ax[k] + ay[k] * ay[k] + az[k] * az[k])
        inverse = 1.0 / max(length, 1e-150)
        x, y = ax[k] * inverse, ay[k] * inverse
        z = az[k] * inverse if length > 1e-150 else 1.0
        sign = math.copysign(1.0, z)
        d = -1.0 / (sign + z)
        ax[k] = c * x + a * (1.0 + sign * x * x * d) + b * x * y * d
        ay[k] = c * y + a * sign * x * y * d + b * (sign + y * y * d)
        az[k] = c * z - a * sign * x - b * y
