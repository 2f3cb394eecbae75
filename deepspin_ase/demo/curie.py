"""Order against temperature of bcc iron, by the exchange route."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from deepspin_ase.demo.crystal import iron
from deepspin_ase.demo.study import Study, run_plugin

MODEL: Final = "fe-bcc"
"""The shipped model of iron; the demo's own is one of NiO."""

CURIE: Final = 1043.0
"""K, measured."""


def run_curie(folder: Path) -> Study | None:
    """What ``deepspin curie`` says about the ferromagnet, with small supercells and few sweeps."""
    import numpy as np
    from matplotlib.figure import Figure

    if not run_plugin("curie", iron(), folder, model=MODEL, cutoff=6.0, sizes="4,6,10", sweeps=1000, accuracy=0.02):
        return None
    with np.load(folder / "result.npz") as result:
        tc, error = float(result["tc"]), float(result["tc_error"])
        mean_field = float(result["mean_field"])
        figure = Figure(figsize=(6, 4.2), layout="constrained")
        axes = figure.subplots()
        for size in np.unique(result["size"]):
            rows = result["size"] == size
            value, spread = result["order_parameter"][:, rows]
            sites = int(result["sites"][rows][0])
            axes.errorbar(result["temperature"][rows], value, spread, fmt="o-", ms=3, label=f"{sites} Fe")
    axes.axvspan(tc - error, tc + error, color="0.85", label="T$_c$")
    axes.axvline(CURIE, color="C3", label="measured T$_c$")
    axes.set(xlabel="temperature (K)", ylabel="magnetisation", title="bcc Fe: order against temperature", ylim=(0, 1))
    axes.legend()
    return Study(
        {"curie_temperature_K": tc, "curie_temperature_error_K": error},
        figure,
        f"iron: ferromagnetic order is lost at {tc:.0f} ± {error:.0f} K with the exchange of {MODEL!r} at rest (mean "
        f"field {mean_field:.0f} K); measured {CURIE:g} K",
    )
