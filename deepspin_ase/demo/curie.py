"""Order against temperature of NiO, by the exchange route."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from deepspin_ase.demo.study import Study, run_plugin

NEEL: Final = 523.0
"""K, measured."""


def run_curie(model: str, folder: Path) -> Study | None:
    """What ``deepspin curie`` says about the ordered crystal, with small supercells and few sweeps."""
    import numpy as np
    from matplotlib.figure import Figure

    if not run_plugin("curie", folder, model=model, cutoff=4.5, sizes="4,6,8", sweeps=500, accuracy=0.03, spin=1.0):
        return None
    with np.load(folder / "result.npz") as result:
        tc, error = float(result["tc"]), float(result["tc_error"])
        figure = Figure(figsize=(6, 4.2), layout="constrained")
        axes = figure.subplots()
        for size in np.unique(result["size"]):
            rows = result["size"] == size
            value, spread = result["order_parameter"][:, rows]
            sites = int(result["sites"][rows][0])
            axes.errorbar(result["temperature"][rows], value, spread, fmt="o-", ms=3, label=f"{sites} Ni")
    axes.axvspan(tc - error, tc + error, color="0.85", label="T$_N$, classical")
    axes.axvline(2 * tc, color="C0", ls="--", label="times (S+1)/S, S = 1")
    axes.axvline(NEEL, color="C3", label="measured T$_N$")
    axes.set(
        xlabel="temperature (K)", ylabel="antiferromagnetic order", title="NiO: order against temperature", ylim=(0, 1)
    )
    axes.legend()
    return Study(
        {"neel_temperature_K": tc, "neel_temperature_error_K": error},
        figure,
        f"order is lost at {tc:.0f} ± {error:.0f} K with classical moments; times (S+1)/S for the spin S = 1 of Ni²⁺, "
        f"an estimate for quantum spins, {2 * tc:.0f} K; measured {NEEL:g} K",
    )
