"""What an iteration, and a run, leave for people to read: tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from deepspin_ase.active_learning.selection import CLASSES, Selection
from deepspin_ase.active_learning.storage import write_json, write_text
from deepspin_ase.training.metrics import QUANTITIES, UNIT_TEXT, metric_key
from deepspin_ase.training.report import SYMBOL, markdown_table

_SHOWN = ("energy", "force", "magnetic_force_perp", "magnetic_force_par")


def write_iteration_report(folder: Path, report: dict[str, Any], selection: Selection) -> None:
    """Write ``report.json``, ``report.md`` and ``deviations.png``.

    Parameters
    ----------
    folder
        Directory of the iteration.
    report
        Results of its stages.
    selection
        Deviations and levels.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, quantity in zip(figure.subplots(1, 2), ("forces", "magnetic_perp"), strict=True):
        selection.plot(axis, quantity=quantity)
    figure.savefig(folder / "deviations.png", dpi=110)
    write_text(folder / "report.md", "\n".join(_iteration_lines(report, selection)) + "\n")
    write_json(folder / "report.json", report)


def write_run_report(output: Path, reports: Sequence[dict[str, Any]]) -> None:
    """Write ``report.md`` and ``progress.png`` of the whole run so far."""
    header, rows = run_table(reports)
    text = ["# Active learning", "", *markdown_table(header, rows), ""]
    text += ["Errors are those of single models on frames that no model has seen, mean ± standard deviation over the"]
    text += ["committee. Fractions are of the explored structures; labels count all that were asked for."]
    if reports[-1]["stop"]:
        text += ["", f"Stopped: {reports[-1]['stop']}."]
    write_text(output / "report.md", "\n".join([*text, "", "![progress](progress.png)"]) + "\n")
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    labels = [report["train"]["training_frames"] for report in reports]
    for axis, quantity in zip(axes, ("force", "magnetic_force_perp"), strict=False):
        key = metric_key(quantity, "rmse")
        known = [(n, r["validate"]["errors"][key]) for n, r in zip(labels, reports, strict=True) if key in _errors(r)]
        if known:
            values = [[entry[part] for _, entry in known] for part in ("mean", "spread")]
            axis.errorbar([n for n, _ in known], values[0], values[1], marker="o", capsize=3)
        axis.set(xlabel="training frames", ylabel=f"RMSE of {SYMBOL[quantity]} ({UNIT_TEXT[QUANTITIES[quantity]]})")
        axis.set(ylim=(0, None), title="fresh frames")
    fractions = [[report["select"]["fractions"][name] for report in reports] for name in CLASSES]
    axes[2].stackplot(range(len(reports)), fractions, labels=CLASSES, colors=["#4c9f70", "#e0a030", "#b0413e"])
    axes[2].set(xlabel="iteration", ylabel="fraction of explored structures", ylim=(0, 1))
    axes[2].set_xticks(range(len(reports)))
    axes[2].legend(loc="lower right")
    figure.savefig(output / "progress.png", dpi=110)


def run_table(reports: Sequence[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows: one line per iteration."""
    shown = [name for name in _SHOWN if any(metric_key(name, "rmse") in _errors(report) for report in reports)]
    units = (f"{SYMBOL[name]} ({UNIT_TEXT[QUANTITIES[name]]})" for name in shown)
    header = ("iteration", "training frames", "labels", *CLASSES, *units)
    rows = []
    for report in reports:
        fractions = [f"{report['select']['fractions'][name]:.1%}" for name in CLASSES]
        cells = [_with_error(_errors(report).get(metric_key(name, "rmse"))) for name in shown]
        counts = (str(report["iteration"]), str(report["train"]["training_frames"]), str(report["labels"]))
        rows.append((*counts, *fractions, *cells))
    return header, rows


def _iteration_lines(report: dict[str, Any], selection: Selection) -> list[str]:
    lines = [f"# Iteration {report['iteration']}", "", *markdown_table(*run_table([report])), ""]
    levels = [
        (name, f"{selection.low[k]:.4g}", f"{selection.high[k]:.4g}", unit)
        for k, (name, unit) in enumerate((("forces", "eV/Å"), ("transverse magnetic forces", "eV/µB")))
    ]
    lines += ["## Trust levels", "", *markdown_table(("deviation of", "low", "high", "unit"), levels), ""]
    rows = [(kind, *(str(n) for n in counts.values())) for kind, counts in report["select"]["by_explorer"].items()]
    lines += ["## Explorers", "", *markdown_table(("explorer", *CLASSES), rows), ""]
    if ratio := report["validate"]["error_per_deviation"]:
        lines += [
            "Errors on fresh frames (rms over frames of the worst atom) are "
            f"{ratio['forces']:.2g} times the deviation for forces, {ratio['magnetic_perp']:.2g} times for transverse "
            "magnetic forces.",
            "",
        ]
    lines += ["![deviations](deviations.png)", "", "## Labels", ""]
    for part, name in (("validate", "validation"), ("label", "training")):
        if part in report:
            lines.append(f"* {name}: {report[part]['frames']} labelled, {len(report[part]['failures'])} failed")
            lines += [f"  * {failure['formula']}: {failure['reason']}" for failure in report[part]["failures"]]
    seconds = ", ".join(f"{name} {report[name]['seconds']:.0f} s" for name in report if _is_stage(report[name]))
    return [*lines, "", f"Time: {seconds}."]


def _errors(report: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = report["validate"]["errors"]
    return found


def _with_error(entry: dict[str, float] | None) -> str:
    return "-" if entry is None else f"{entry['mean']:.3g} ± {entry['spread']:.2g}"


def _is_stage(value: Any) -> bool:
    return isinstance(value, dict) and "seconds" in value
