"""The command ``deepspin learn``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepspin_ase.errors import InputError


def learn(
    config: Annotated[Path | None, typer.Argument(help="Learning file (YAML).", show_default=False)] = None,
    init: Annotated[bool, typer.Option("--init", help="Write a commented learning file and stop.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file and say what would be done, and how many labels.")
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="Say how far the run is.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the output directory.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew in an output directory that holds a run.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="Output directory; default runs/<name of the file>.")] = None,
) -> None:
    """Train, explore, select, label, and again until it is enough.

    Writes a directory per iteration (models, explored structures, labels, report.md, deviations.png), and report.md,
    progress.png, models/ and frames.extxyz for the whole. It may be stopped or killed at any moment: --resume goes on
    where it was.
    """
    path = config if config is not None else Path("learn.yaml")
    if init:
        from deepspin_ase.active_learning.template import TEMPLATE
        from deepspin_ase.commands import write_template

        write_template(path, TEMPLATE, "deepspin learn --init", f"Edit it, then run: deepspin learn {path} --dry-run")
        return
    if config is None:
        raise InputError("give a learning file, or write one: deepspin learn --init")
    from deepspin_ase.active_learning.config import LearningConfig

    options = LearningConfig.from_file(path)
    folder = output or Path(options.output or f"runs/{path.stem}")
    options = options.model_copy(update={"output": str(folder)})
    from deepspin_ase.active_learning import planning

    if dry_run or status:
        typer.echo("\n".join(planning.plan(options) if dry_run else planning.status(folder)))
        return
    from deepspin_ase.active_learning.loop import learn as run
    from deepspin_ase.active_learning.report import run_table
    from deepspin_ase.commands import print_table

    result = run(options, resume=resume, overwrite=overwrite, say=lambda line: typer.echo(line, err=True))
    print_table(*run_table(result.iterations), empty="No iterations.")
    typer.echo(f"{result.reason}; {result.labels} labels. Models: {result.output / 'models'}, report: report.md")
