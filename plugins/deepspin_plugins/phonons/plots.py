"""Pictures that show several results at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from deepspin_plugins.phonons.bands import PhononBands, PhononDos

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_phonons(bands: PhononBands | Mapping[str, PhononBands], dos: PhononDos, *, title: str = "") -> Figure:
    """Bands beside the density of states, on one axis of frequency.

    Parameters
    ----------
    bands
        One, or several by name, along the same path; the density belongs to the first.
    dos
        Density of states.
    title
        Above the bands.
    """
    from matplotlib.figure import Figure

    named = {"": bands} if isinstance(bands, PhononBands) else dict(bands)
    figure = Figure(figsize=(8.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    for number, (name, one) in enumerate(named.items()):
        one.plot(left, color=f"C{number}", linestyle="-" if number == 0 else "--", label=name or None)
    if len(named) > 1:
        left.legend(fontsize=8)
    dos.plot(right, upright=True)
    right.set_ylabel("")
    right.set_xlabel("states (1/THz per cell)")
    left.set_title(title)
    low, high = (min(b.frequencies.min() for b in named.values()), max(b.frequencies.max() for b in named.values()))
    left.set_ylim(1.05 * low if low < -1e-3 * high else 0.0, 1.05 * high)
    return figure
