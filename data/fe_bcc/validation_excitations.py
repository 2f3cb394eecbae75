"""Exchange, magnons, phonons and Curie temperatures of a potential of bcc iron, beside literature and experiment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from ase.build import bulk
from ase.units import Rydberg
from direct_points import LATTICE_CONSTANT
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from validation_study import CUTOFF, Iron, Row, Study

from deepspin_ase.moments import ferromagnet, get_moments, set_moments
from deepspin_plugins.curie import direct_ordering_temperature
from deepspin_plugins.magnons import SpinWaves, band_structure, stiffness_tensor
from deepspin_plugins.phonons import phonons

PAJDA: Final = {  # mRy, E = -Σ_{i≠j} J_ij e_i·e_j; M. Pajda et al., PRB 64, 174402 (2001). Bond vectors in a/2
    (1, 1, 1): 1.432,
    (2, 0, 0): 0.815,
    (2, 2, 0): -0.016,
    (3, 1, 1): -0.126,
    (2, 2, 2): -0.146,
    (4, 0, 0): 0.062,
    (3, 3, 1): 0.001,
    (4, 2, 0): 0.015,
    (4, 2, 2): -0.032,
    (3, 3, 3): 0.187,
}
PHONONS: Final = {"H": (8.57,), "N": (4.49, 6.48, 9.38), "P": (7.26,)}  # THz, measured
DIRECT_SIZES, DIRECT_SWEEPS, DIRECT_EQUILIBRATION = (2, 3), 400, 50  # cubic cells along an edge: 16 and 54 atoms
DIRECT_TEMPERATURES: Final = (0.9, 1.1, 1.3, 1.55, 1.85)  # of T_c by the exchange route


def exchange_shells(data: Iron) -> Study:
    """J by shell in the convention of Pajda et al.: -Σ_{i≠j} J_ij e_i·e_j, half of ours."""
    found = data.exchange
    to_mry = 1e3 / Rydberg / 2
    kinds = np.sort(np.rint(2 * np.abs(found.vectors) / LATTICE_CONSTANT).astype(int), axis=1)[:, ::-1]
    rows, drawn = [], []
    for kind, theirs in PAJDA.items():
        own = (kinds == kind).all(axis=1)
        value = to_mry * float(found.isotropic[own].mean())
        error = to_mry * float(found.errors[own].max())
        name = f"J of {own.sum()} at ({' '.join(map(str, kind))})a/2"
        rows.append(Row(name, "mRy", value, error, f"{theirs:.3f} (Pajda)"))
        drawn.append((0.5 * float(np.linalg.norm(kind)), own.sum() * value, own.sum() * theirs))
    remark = f"{data.state}; beyond {CUTOFF} Å at most {to_mry * found.beyond:.4f} mRy"
    total = sum(mine for _, mine, _ in drawn)
    rows.append(
        Row("J(0), these shells", "mRy", total, beside=f"{sum(t for *_, t in drawn):.2f} (Pajda)", remark=remark)
    )
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.subplots()
    distance, mine, other = np.array(drawn).T
    axes.axhline(0.0, color="0.8", lw=0.8)
    axes.plot(distance, mine, "o-", label="model")
    axes.plot(distance, other, "s", mfc="none", label="Pajda et al.")
    axes.set(xlabel="distance (a)", ylabel="number of neighbours times J (mRy)")
    axes.legend()
    return Study(rows, figure)


def magnons(data: Iron) -> Study:
    """Stiffness and bands of the ferromagnet."""
    waves = SpinWaves.from_model(data.exchange.to_model(), get_moments(data.ferromagnet))
    stiffness = stiffness_tensor(waves)
    bands = band_structure(waves, atoms=data.ferromagnet)
    row = Row(
        "magnon stiffness",
        "meV Å²",
        stiffness.mean,
        stiffness.mean_error,
        "280-330 (exp.)",
        f"{data.state}; error: outermost bonds left out",
    )
    rows = [row, *(Row(f"magnon at {q}", "meV", float(bands.at(q)[0]), remark="classical, undamped") for q in PHONONS)]
    return Study(rows, bands_figure(bands.plot))


def lattice_vibrations(data: Iron) -> Study:
    """Phonons of the ferromagnet, moments frozen."""
    result = phonons(data.ferromagnet, data.calc, supercell=4, relax="none")
    bands = result.bands()
    remark = f"{data.state}, frozen; 4 x 4 x 4 cells hold these wavevectors"
    rows = []
    for label, measured in PHONONS.items():
        values = bands.at(label)
        for number, experiment in enumerate(measured):
            own = values[number if len(measured) > 1 else slice(None)]
            rows.append(Row(f"phonon at {label}", "THz", float(np.mean(own)), beside=f"{experiment} (exp.)"))
    rows[0] = rows[0]._replace(remark=remark)
    lowest = float(bands.frequencies.min())
    rows.append(
        Row("lowest phonon on the path", "THz", lowest, remark="negative: not stable" if lowest < -0.05 else "")
    )
    return Study(rows, bands_figure(bands.plot))


def curie_of_exchange(data: Iron) -> Study:
    """Curie temperature of the spin model."""
    found = data.exchange_route
    remark = f"{found.order}; {data.state}; beyond exchange at rest nothing is in it"
    rows = [
        Row("T_c, exchange, mean field", "K", found.mean_field, beside="1415 (Pajda)"),
        Row("T_c, exchange, RPA", "K", found.rpa, found.rpa_error, "970 (Pajda)"),
        Row("T_c, exchange, Monte Carlo", "K", found.tc, found.tc_error, "1043 (exp.), 1054 ± 8 (Pajda's J)", remark),
    ]
    return Study(rows, found.figure())


def curie_of_potential(data: Iron) -> Study:
    """Curie temperature of the potential itself: directions move, lattice and lengths are fixed."""
    temperature = data.exchange_route.tc
    if not np.isfinite(temperature):
        temperature = data.exchange_route.mean_field
    cubic = bulk("Fe", "bcc", a=LATTICE_CONSTANT, cubic=True)
    set_moments(cubic, ferromagnet(cubic, float(get_moments(data.ferromagnet)[0, 2])))
    found = direct_ordering_temperature(
        [cubic.repeat(size) for size in DIRECT_SIZES],
        temperature * np.array(DIRECT_TEMPERATURES),
        calc=data.calc,
        sweeps=DIRECT_SWEEPS,
        equilibration=DIRECT_EQUILIBRATION,
    )
    atoms = " and ".join(str(2 * size**3) for size in DIRECT_SIZES)
    remark = f"{atoms} Fe, error without that of size; {data.state}, fixed; no vibrations"
    if not np.isfinite(found.tc):
        remark += "; no crossing of the cumulants beyond the noise"
    return Study([Row("T_c, direct", "K", found.tc, found.tc_error, "1043 (exp.)", remark)], found.figure())


def bands_figure(plot: Callable[[Axes], Axes]) -> Figure:
    """A band structure in a figure of its own."""
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    plot(figure.subplots())
    return figure
