"""Magnons of NiO, beside what neutrons have found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from deepspin_ase.demo.crystal import MAGNETIC_CELL, MOMENT, nickel_oxide
from deepspin_ase.demo.study import Study, run_plugin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

IONIC_MOMENT: Final = 2.0
"""µB; the spin S = 1 of Ni²⁺. Magnon energies are proportional to 1/|m|, see ``docs/magnons.md``."""

NEUTRON_TOP, NEUTRON_SLOPE = 117.0, 250.0
"""meV and meV Å; M. T. Hutchings and E. J. Samuelsen, Phys. Rev. B 6, 3447 (1972)."""


def run_magnons(model: str, folder: Path) -> Study | None:
    """What ``deepspin magnons`` says about the ordered crystal."""
    import numpy as np
    import yaml

    if not run_plugin("magnons", nickel_oxide(MAGNETIC_CELL), folder, model=model, exchange=True, ions="Ni=2", mesh=8):
        return None
    summary = yaml.safe_load((folder / "summary.yaml").read_text(encoding="utf-8"))
    velocity = summary["spin-wave velocities (meV Å)"]["x"][0]
    with np.load(folder / "bands.npz") as bands, np.load(folder / "spectrum.npz") as spectrum:
        top = float(bands["energies"].max())
        figure = draw_magnons(bands, spectrum)
    ionic = MOMENT / IONIC_MOMENT
    return Study(
        {"magnon_top_meV": top, "magnon_slope_meV_A": velocity},
        figure,
        f"magnons: top {top:.0f} meV, slope {velocity:.0f} meV Å; with {IONIC_MOMENT:g} µB, the moment of Ni²⁺, "
        f"{ionic * top:.0f} and {ionic * velocity:.0f}; neutrons {NEUTRON_TOP:g} and {NEUTRON_SLOPE:g}",
    )


def draw_magnons(bands: Mapping[str, Any], spectrum: Mapping[str, Any]) -> Figure:
    """Bands next to what neutrons have found, and the neutron spectrum."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    distance, energies = bands["distance"], bands["energies"]
    line = left.plot(distance, energies, "C0")[0]
    line.set_label(f"model, {MOMENT:.2f} µB")
    line = left.plot(distance, MOMENT / IONIC_MOMENT * energies, "C0--")[0]
    line.set_label(f"same exchange, {IONIC_MOMENT:g} µB")
    left.axhline(NEUTRON_TOP, color="C3", lw=1, label="neutrons: top, slope")
    start = np.array([0.0, 0.6 * NEUTRON_TOP])
    left.plot(start / NEUTRON_SLOPE, start, "C3", lw=2.5)
    left.set(xlabel="wavevector", ylabel="magnon energy (meV)", title="NiO: magnons of the learned potential")
    left.set_xticks(bands["ticks"], bands["labels"].tolist())
    left.set_xlim(distance[0], distance[-1])
    left.set_ylim(0, spectrum["energy"][-1])
    left.legend(loc=(0.12, 0.05), fontsize=8)
    top = np.percentile(spectrum["intensity"], 99)
    image = right.pcolormesh(
        distance, spectrum["energy"], spectrum["intensity"].T, vmax=top, cmap="inferno", shading="nearest"
    )
    figure.colorbar(image, ax=right, label="intensity (1/meV per cell)")
    right.set(xlabel="wavevector", title="neutron S(q, ω)")
    return figure
