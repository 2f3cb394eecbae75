"""Phonons of NiO, beside what experiments have found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from deepspin_ase.demo.crystal import MAGNETIC_CELL, nickel_oxide
from deepspin_ase.demo.study import Study, run_plugin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

TRANSVERSE, LONGITUDINAL = 12.0, 17.0
"""THz; optical modes at Γ from infrared and neutron spectra, about 400 and 570 cm⁻¹."""

BORN_CHARGE, DIELECTRIC = 2.2, 5.7
"""e and 1; the field of LO modes needs them, and no potential of finite range knows them."""


def run_phonons(model: str, folder: Path) -> Study | None:
    """What ``deepspin phonons`` says about the ordered crystal, its moments frozen."""
    import numpy as np
    import yaml

    charges = f"Ni={BORN_CHARGE},O={-BORN_CHARGE}"
    atoms = nickel_oxide(MAGNETIC_CELL)
    options = {"supercell": (2, 2, 2), "mesh": 8, "born": charges, "dielectric": DIELECTRIC}
    if not run_plugin("phonons", atoms, folder, model=model, **options):
        return None
    summary = yaml.safe_load((folder / "summary.yaml").read_text(encoding="utf-8"))
    transverse: Final = summary["infrared-active modes at Γ, transverse (THz)"]
    longitudinal: Final = max(summary["highest modes along x, y, z at Γ (THz)"])
    with np.load(folder / "bands.npz") as bands, np.load(folder / "dos.npz") as dos:
        figure = draw_phonons(bands, dos)
    return Study(
        {"phonon_TO_low_THz": min(transverse), "phonon_TO_high_THz": max(transverse), "phonon_LO_THz": longitudinal},
        figure,
        f"phonons: TO {min(transverse):.2f} and {max(transverse):.2f} THz, split by the order of the moments, LO "
        f"{longitudinal:.1f} THz with Born charges of ±{BORN_CHARGE:g} e from the literature; experiments about "
        f"{TRANSVERSE:g} and {LONGITUDINAL:g}",
    )


def draw_phonons(bands: Mapping[str, Any], dos: Mapping[str, Any]) -> Figure:
    """Bands with the optical modes of experiments, and the density of states by species."""
    from matplotlib.figure import Figure

    from deepspin_ase.band_path import path_segments

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    distance, frequencies = bands["distance"], bands["frequencies"]
    for part in path_segments(distance):
        left.plot(distance[part], frequencies[part], "C0", lw=1.2)
    for value, name in ((TRANSVERSE, "TO, experiment"), (LONGITUDINAL, "LO, experiment")):
        left.axhline(value, color="C3", lw=1, ls="--")
        left.text(distance[-1], value, name, color="C3", ha="right", va="bottom", fontsize=8)
    left.set(xlabel="wavevector", ylabel="frequency (THz)", title="NiO: phonons of the learned potential")
    left.set_xticks(bands["ticks"], bands["labels"].tolist())
    left.set_xlim(distance[0], distance[-1])
    left.set_ylim(min(0.0, float(frequencies.min())), 1.1 * float(frequencies.max()))
    for name, density in zip(dos["species"].tolist(), dos["projected"], strict=True):
        right.plot(density, dos["frequency"], label=name)
    right.set(xlabel="states (1/THz per cell)", title="by species")
    right.legend(fontsize=8)
    return figure
