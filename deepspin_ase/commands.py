"""Core commands of ``deepspin`` that belong to no area: lists of plugins and of shipped models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from deepspin_ase.errors import InputError


def write_template(path: Path, template: str, again: str, advice: str) -> None:
    """Write the commented example of a command's file, and say what to do with it.

    Parameters
    ----------
    path, template
        File and its text.
    again
        The command up to the name of the file, for those who have to give another one.
    advice
        What to do next.

    Raises
    ------
    InputError
        The file exists.
    """
    if path.exists():
        raise InputError(f"{path} exists; give another name: {again} NAME.yaml")
    path.write_text(template, encoding="utf-8")
    typer.echo(f"Wrote {path}. {advice}")


def plugins(
    details: Annotated[
        bool, typer.Option("--details", help="Show the traceback of every plugin that failed to import.")
    ] = False,
) -> None:
    """List the installed plugins: name, version, distribution, summary and status."""
    from deepspin_ase.cli import CORE_COMMANDS
    from deepspin_ase.plugin import discover_plugins

    records = discover_plugins(reserved=CORE_COMMANDS)
    rows = [
        (r.name, r.version, r.distribution, r.summary or "-", "ok" if r.usable else f"BROKEN: {r.error}")
        for r in records
    ]
    print_table(("name", "version", "distribution", "summary", "status"), rows, empty="No plugins are installed.")
    if details:
        for record in records:
            if record.details:
                typer.echo(f"\n{record.name} ({record.distribution} {record.version}):\n{record.details}")


def models() -> None:
    """List the models that come with the package; each name can be given to DeepSpin(...) and --model."""
    from deepspin_ase.model.zoo import available_models, model_path

    rows = []
    for name in available_models():
        weights = model_path(name)
        rows.append((name, f"{weights.stat().st_size / 1024:.0f} KiB", _card_title(weights.with_suffix(".md"))))
    print_table(("name", "size", "description"), rows, empty="No models are installed.")


def print_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, empty: str) -> None:
    """Write a table to standard output: fitted to a terminal, one unbroken line per row anywhere else."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        typer.echo(empty)
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
        for row in [header, *rows]:
            typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    table = Table(*header, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _card_title(card: Path) -> str:
    """First heading of a model card."""
    if not card.is_file():
        return "-"
    lines = (line.strip() for line in card.read_text(encoding="utf-8").splitlines())
    return next((line.lstrip("# ") for line in lines if line.startswith("#")), "-")
