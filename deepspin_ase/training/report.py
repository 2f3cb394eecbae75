"""What a run leaves for people to read: tables, pictures and the model card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import deepspin_ase
from deepspin_ase.model.elements import SYMBOLS
from deepspin_ase.model.potential import Potential
from deepspin_ase.training.config import TrainingConfig
from deepspin_ase.training.datasets import DataSplit
from deepspin_ase.training.evaluation import Evaluation
from deepspin_ase.training.metrics import QUANTITIES, UNIT_TEXT, metric_key

SYMBOL = {
    "energy": "E",
    "force": "F",
    "stress": "σ",
    "magnetic_force": "F^m",
    "magnetic_force_perp": "F⊥",
    "magnetic_force_par": "F∥",
    "torque": "τ",
}
"""Symbols of the quantities in tables."""


@dataclass(frozen=True)
class SetErrors:
    """Errors of one data set; ``part`` is train or validation."""

    name: str
    part: str
    evaluation: Evaluation


def table_rows(
    entries: Sequence[tuple[str, dict[str, float]]], *, kind: str = "rmse"
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of a table of errors; quantities without labels are left out.

    Parameters
    ----------
    entries
        Title and errors of each row.
    kind
        rmse or mae.
    """
    shown = [name for name in QUANTITIES if any(metric_key(name, kind) in errors for _, errors in entries)]
    header = ("set", "frames", *(f"{SYMBOL[name]} ({UNIT_TEXT[QUANTITIES[name]]})" for name in shown))
    rows = []
    for title, errors in entries:
        cells = [errors.get(metric_key(name, kind)) for name in shown]
        texts = ["-" if cell is None else f"{cell:.3g}" for cell in cells]
        rows.append((title, str(int(errors["n_frames"])), *texts))
    return header, rows


def make_card(
    config: TrainingConfig,
    splits: Sequence[DataSplit],
    errors: Sequence[SetErrors],
    potential: Potential,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Training card: data, settings, errors; plain values only.

    Parameters
    ----------
    config
        Options of the run.
    splits
        Data sets.
    errors
        Errors of the finished model.
    potential
        The model.
    facts
        Times and counts of the run.
    """
    data = [
        {
            "name": split.name,
            "file": Path(split.section.path).name,
            "where": split.section.model_dump(mode="json")["where"],
            "training_frames": len(split.training),
            "validation_frames": len(split.validation),
            "validation_indices": list(split.validation_indices),
            "licence": split.section.licence,
            "origin": split.section.origin,
        }
        for split in splits
    ]
    settings = config.model_dump(mode="json")
    for entry in settings["data"]:
        entry["path"] = Path(entry["path"]).name
        if isinstance(entry["validation"], str):
            entry["validation"] = Path(entry["validation"]).name
    settings["runtime"].pop("output")
    return {
        "data": data,
        "errors": [{"set": e.name, "part": e.part, **e.evaluation.errors} for e in errors],
        "training": facts,
        "config": settings,
        "species": [SYMBOLS[z] for z in potential.config.species],
        "magnetic": [SYMBOLS[z] for z in potential.config.magnetic],
        "versions": {"deepspin_ase": deepspin_ase.__version__, "torch": torch.__version__},
    }


def card_markdown(card: dict[str, Any], *, title: str) -> str:
    """Model card as text.

    Parameters
    ----------
    card
        Of :func:`make_card`.
    title
        Heading.
    """
    training = card["training"]
    lines = [
        f"# {title}",
        "",
        f"Species {', '.join(card['species'])}; magnetic: {', '.join(card['magnetic']) or 'none'}; "
        f"{training['parameters']} parameters.",
        "",
        "## Data",
        "",
    ]
    for entry in card["data"]:
        where = f", selected by {json.dumps(entry['where'])}" if entry["where"] else ""
        lines.append(
            f"* **{entry['name']}**: `{entry['file']}`{where}; "
            f"{entry['training_frames']} frames to train on, {entry['validation_frames']} to validate."
        )
        lines.append(
            f"  Origin: {entry['origin'] or 'not stated'}. Licence of the data: {entry['licence'] or 'not stated'}."
        )
        if entry["validation_indices"]:
            lines.append(f"  Validation frames (numbers in the file, from 0): {_listed(entry['validation_indices'])}.")
    rows = [(f"{e['set']}, {e['part']}", e) for e in card["errors"]]
    for kind in ("rmse", "mae"):
        lines += ["", f"## Errors ({kind.upper()})", "", *markdown_table(*table_rows(rows, kind=kind))]
    lines += [
        "",
        "Energies are compared without any shift, magnetic quantities on magnetic atoms only. ⊥ and ∥ refer to the",
        "moment of the atom. All labels are as published, without scale factors.",
        "",
        "## Training",
        "",
        f"{training['epochs']} epochs, {training['steps']} steps, {training['cpu_minutes']:.1f} CPU minutes "
        f"({training['minutes']:.1f} minutes, {training['compile_minutes']:.1f} of them compilation); "
        f"torch {card['versions']['torch']}, deepspin-ase {card['versions']['deepspin_ase']}.",
        "",
        "```yaml",
        _yaml(card["config"]),
        "```",
        "",
    ]
    return "\n".join(lines)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table."""
    rule = "|".join("---" for _ in header)
    return [f"| {' | '.join(header)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in rows)]


def write_report(output: Path, card: dict[str, Any], errors: Sequence[SetErrors]) -> None:
    """Write ``model.md``, ``report.json``, parity plots and learning curves.

    Parameters
    ----------
    output
        Directory of the run.
    card
        Training card.
    errors
        Errors of the finished model.
    """
    from deepspin_ase.training.plots import plot_learning_curves, plot_parity

    (output / "model.md").write_text(card_markdown(card, title=output.name), encoding="utf-8")
    text = json.dumps(card, indent=1, ensure_ascii=False)
    (output / "report.json").write_text(text + "\n", encoding="utf-8")
    plot_parity(errors, output / "parity.png")
    plot_learning_curves(output / "logs", output / "learning_curves.png")


def _listed(indices: Sequence[int]) -> str:
    return " ".join(str(index) for index in indices)


def _yaml(values: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110).rstrip()
