"""Pictures of a training run; no global state of matplotlib is used."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from deepspin_ase.training.metrics import QUANTITIES, UNIT_TEXT, metric_key

if TYPE_CHECKING:
    from deepspin_ase.training.report import SetErrors

_PANELS = (
    ("energy", "energy above the mean", "eV/atom"),
    ("force", "forces", "eV/Å"),
    ("magnetic_force_perp", "magnetic forces ⊥", "eV/µB"),
    ("magnetic_force_par", "magnetic forces ∥", "eV/µB"),
)


def plot_parity(errors: Sequence[SetErrors], path: Path) -> None:
    """Prediction against label for E, F, F⊥ and F∥, training frames pale behind validation frames."""
    figure = Figure(figsize=(10, 10))
    FigureCanvasAgg(figure)
    for axis, (name, title, unit) in zip(figure.subplots(2, 2).flat, _PANELS, strict=True):
        ends: list[float] = []
        for part, style in (("train", {"color": "0.75", "s": 4}), ("validation", {"s": 8})):
            for entry in errors:
                pair = entry.evaluation.parity.get(name)
                if entry.part != part or pair is None:
                    continue
                label, predicted = pair
                offset = float(label.mean()) if name == "energy" else 0.0
                text = None if part == "train" else entry.name
                axis.scatter(label - offset, predicted - offset, label=text, linewidths=0, **style)
                ends += [float((label - offset).min()), float((label - offset).max())]
        if ends:
            axis.plot([min(ends), max(ends)], [min(ends), max(ends)], color="black", linewidth=0.8)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize=8)
        axis.set(title=title, xlabel=f"label ({unit})", ylabel=f"prediction ({unit})")
    figure.subplots_adjust(left=0.09, right=0.98, bottom=0.07, top=0.96, wspace=0.25, hspace=0.25)
    figure.savefig(path, dpi=120)


def read_history(logs: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Epochs and values of every logged number; where restarts overlap, the later one wins."""
    found: dict[str, dict[int, float]] = {}
    files = sorted(logs.glob("version_*/metrics.csv"), key=lambda p: int(p.parent.name.rsplit("_", 1)[1]))
    for file in files:
        with file.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                epoch = row.pop("epoch", None)
                row.pop("step", None)
                for name, value in row.items():
                    if value and epoch:
                        found.setdefault(name, {})[int(epoch)] = float(value)
    return {
        name: (np.array(sorted(points)), np.array([points[k] for k in sorted(points)]))
        for name, points in found.items()
    }


def plot_learning_curves(logs: Path, path: Path) -> None:
    """Training loss and validation errors against epochs."""
    history = read_history(logs)
    figure = Figure(figsize=(11, 7))
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3).flat
    panels: list[tuple[str, str]] = [("train/loss", "training loss")]
    panels += [
        (f"val/{metric_key(name, 'rmse')}", f"{title} RMSE ({UNIT_TEXT[QUANTITIES[name]]})")
        for name, title in (
            ("energy", "E"),
            ("force", "F"),
            ("magnetic_force_perp", "F⊥"),
            ("magnetic_force_par", "F∥"),
        )
    ]
    panels.append(("lr", "learning rate"))
    for axis, (key, title) in zip(axes, panels, strict=True):
        if key in history:
            axis.plot(*history[key], linewidth=1)
            axis.set_yscale("log")
        axis.set(title=title, xlabel="epoch")
    figure.subplots_adjust(left=0.06, right=0.98, bottom=0.08, top=0.94, wspace=0.25, hspace=0.3)
    figure.savefig(path, dpi=110)
