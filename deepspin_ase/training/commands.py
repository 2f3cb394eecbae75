"""The commands ``deepspin train`` and ``deepspin evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from deepspin_ase.errors import InputError


def train(
    config: Annotated[Path | None, typer.Argument(help="Training file (YAML).", show_default=False)] = None,
    init: Annotated[bool, typer.Option("--init", help="Write a commented training file and stop.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last checkpoint in the output directory.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew in an output directory that holds a run.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="Output directory; default runs/<name of the file>.")] = None,
) -> None:
    """Train a model on labelled frames.

    Writes model.pt, its card model.md, report.json, parity.png, learning_curves.png, logs and checkpoints
    into the output directory. Ctrl-C ends the training and still writes all of these.
    """
    path = config if config is not None else Path("train.yaml")
    if init:
        from deepspin_ase.commands import write_template
        from deepspin_ase.training.template import TEMPLATE

        advice = f"Edit its data section, then run: deepspin train {path}"
        write_template(path, TEMPLATE, "deepspin train --init", advice)
        return
    if config is None:
        raise InputError("give a training file, or write one: deepspin train --init")
    from deepspin_ase.commands import print_table
    from deepspin_ase.training.config import TrainingConfig
    from deepspin_ase.training.report import table_rows
    from deepspin_ase.training.run import train as run

    options = TrainingConfig.from_file(path)
    folder = output or Path(options.runtime.output or f"runs/{path.stem}")
    options = options.model_copy(update={"runtime": options.runtime.model_copy(update={"output": str(folder)})})
    result = run(options, resume=resume, overwrite=overwrite, say=lambda line: typer.echo(line, err=True))
    if not result.errors:
        return
    entries = [(f"{e.name}, {e.part}", e.evaluation.errors) for e in result.errors]
    typer.echo("RMSE")
    print_table(*table_rows(entries), empty="No labels.")
    facts = result.card["training"]
    typer.echo(
        f"{facts['epochs']} epochs in {facts['minutes']:.1f} minutes, {facts['cpu_minutes']:.1f} CPU minutes"
        f"{', interrupted' if result.interrupted else ''}. Model: {result.model}"
    )


def evaluate(
    frames: Annotated[list[Path], typer.Option("--frames", help="Labelled frames; may be repeated.")],
    model: Annotated[str, typer.Option("--model", help="Name of a shipped model, or a file.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the errors to this file.")] = None,
    format: Annotated[str | None, typer.Option("--format", help="Format of the frames; default: guess.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float64",
) -> None:
    """Errors of a model on labelled frames.

    RMSE and MAE of energy (per atom, without any shift), forces, stress, magnetic forces (whole, transverse,
    parallel; magnetic atoms only) and torques. With several files, the JSON holds the errors on all frames
    together, and those of each file under "files".
    """
    import torch

    from deepspin_ase.commands import print_table
    from deepspin_ase.data import read_frames
    from deepspin_ase.model.checkpoint import load_checkpoint
    from deepspin_ase.model.zoo import model_path
    from deepspin_ase.training.evaluation import evaluate as compare
    from deepspin_ase.training.report import table_rows

    types = {"float32": torch.float32, "float64": torch.float64}
    if dtype not in types:
        raise InputError(f"--dtype must be float32 or float64, got {dtype!r}")
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise InputError(
            f"--device {device!r} is not available; use cpu{' or cuda' if torch.cuda.is_available() else ''}"
        )
    potential, _ = load_checkpoint(model_path(model), device=device, dtype=types[dtype])
    sets = [(path, read_frames(path, format)) for path in frames]
    each = [(str(path), compare(potential, loaded).errors) for path, loaded in sets]
    total = each[0][1] if len(each) == 1 else compare(potential, [f for _, loaded in sets for f in loaded]).errors
    entries = each if len(each) == 1 else [*each, ("all", total)]
    for kind in ("rmse", "mae"):
        typer.echo(kind.upper())
        print_table(*table_rows(entries, kind=kind), empty="No labels.")
    if json_file is not None:
        content = {**total, "model": model, "files": {name: errors for name, errors in each}}
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
