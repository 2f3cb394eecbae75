"""The command ``deepspin spin-dynamics``: options and settings file become one :class:`Settings`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from deepspin_ase.command_values import numbers_by_symbol


def spin_dynamics(
    structure: Annotated[
        Path | None, typer.Argument(help="Structure file that ASE can read, with moments.", show_default=False)
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name of a shipped model, or a checkpoint file.")] = None,
    spin_model: Annotated[
        Path | None, typer.Option(help="Instead of --model: a spin model written by HeisenbergModel.save.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Number of steps of the whole run.")] = None,
    timestep: Annotated[
        float | None, typer.Option(help="fs; default: from the fastest mode of the moments, at most 1.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="K; without it there is no thermal noise.")] = None,
    damping: Annotated[
        str | None, typer.Option(help="Gilbert damping, 0.1 or Fe=0.1,O=0; default 0.1 with a temperature, else 0.")
    ] = None,
    lattice: Annotated[bool, typer.Option("--lattice", help="Move the atoms, too: spin-lattice dynamics.")] = False,
    lattice_temperature: Annotated[
        float | None, typer.Option(help="K, of atoms that move; default --temperature.")
    ] = None,
    friction: Annotated[
        str | None, typer.Option(help="1/fs, of atoms that move, 0.01 or Fe=0.01,O=0; default 0.01.")
    ] = None,
    pressure: Annotated[
        float | None, typer.Option(help="GPa, of atoms that move: constant pressure instead of constant volume.")
    ] = None,
    moment_mass: Annotated[
        float | None, typer.Option(help="eV fs²/µB², e.g. 10: moments with inertia and changing lengths (TSPIN).")
    ] = None,
    field: Annotated[
        str | None, typer.Option(help="Static field in tesla, for instance 0,0,10. Others: see --init.")
    ] = None,
    moments: Annotated[str, typer.Option(help="Moments along +z in µB if the file has none, e.g. Fe=2.2,O=0.")] = "",
    repeat: Annotated[str | None, typer.Option(help="Supercell, for instance 2,2,2.")] = None,
    integrator: Annotated[
        str | None, typer.Option(help="depondt-mertens, semi-implicit, implicit-midpoint or heun.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random numbers.")] = None,
    replicas: Annotated[int | None, typer.Option(help="Independent runs with different seeds, in batches.")] = None,
    interval: Annotated[int | None, typer.Option(help="Steps between lines of the log and frames; default 10.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, ...")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file (YAML); options given here win over it.")] = None,
    init: Annotated[
        bool, typer.Option("--init", help="Write a commented settings file (to --config) and stop.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Output folder.")] = Path("spin_dynamics"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the output folder; --steps makes it longer.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run in the output folder.")] = False,
) -> None:
    """Dynamics of the moments of a structure, and with --lattice of its atoms.

    Writes into the output folder: log.txt, the trajectory moments.h5, checkpoint.npz, pictures history.png and
    moments.png, initial.extxyz, final.extxyz and settings.yaml. Ctrl-C ends the run and keeps all of these; a killed
    run goes on from its last checkpoint with --resume.
    """
    from deepspin_ase.commands import write_template
    from deepspin_ase.errors import InputError
    from deepspin_plugins.spin_dynamics.config import TEMPLATE, Settings, read_values

    if init:
        path = config or Path("spin_dynamics.yaml")
        advice = f"Edit it, then run: deepspin spin-dynamics --config {path}"
        write_template(path, TEMPLATE, "deepspin spin-dynamics --init --config", advice)
        return
    given: dict[str, Any] = {
        "structure": None if structure is None else str(structure.absolute()),
        "model": None if model is None else _found(model),
        "spin_model": None if spin_model is None else str(spin_model.absolute()),
        "timestep": timestep,
        "temperature": temperature,
        "damping": None if damping is None else _by_species(damping, "--damping"),
        "lattice": lattice or None,
        "lattice_temperature": lattice_temperature,
        "friction": None if friction is None else _by_species(friction, "--friction"),
        "pressure": pressure,
        "moment_mass": moment_mass,
        "field": None if field is None else _numbers(field, "--field"),
        "moments": _by_species(moments, "--moments") if moments else None,
        "repeat": None if repeat is None else _numbers(repeat, "--repeat"),
        "integrator": integrator,
        "seed": seed,
        "replicas": replicas,
        "interval": interval,
        "device": device,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    from deepspin_plugins.spin_dynamics.simulation import SETTINGS, simulate, summary

    if resume:
        if chosen or config is not None or overwrite:
            named = ", ".join([*chosen, *(["config"] if config else []), *(["overwrite"] if overwrite else [])])
            raise InputError(f"--resume takes its settings from the run; leave out {named}. Only --steps may change.")
        if not (output / SETTINGS).is_file():
            raise InputError(f"there is no run in {output}; give its folder: --output FOLDER --resume.")
        values, source = read_values(output / SETTINGS), str(output / SETTINGS)
    else:
        values, source = ({}, "options") if config is None else (read_values(config), str(config))
        if "model" in chosen or "spin_model" in chosen:
            values.pop("model", None), values.pop("spin_model", None)
        values |= chosen
    values |= {} if steps is None else {"steps": steps}
    settings = Settings.from_values(values, source)
    logs = simulate(settings, output, resume=resume, overwrite=overwrite, say=lambda line: typer.echo(line, err=True))
    typer.echo("\n".join(summary(logs, settings)))
    typer.echo(f"log, trajectory, checkpoint, pictures and structures are in {output}/")


def _found(model: str) -> str:
    """Whole path of a checkpoint file, or the name of a shipped model as it is."""
    return str(Path(model).absolute()) if Path(model).is_file() else model


def _by_species(text: str, option: str) -> Any:
    """Turn ``0.1`` into a number and ``Fe=0.1,O=0`` into a dictionary."""
    if "=" in text:
        return numbers_by_symbol(text, option)
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r}; write for example 0.1 or Fe=0.1,O=0", param_hint=option) from None


def _numbers(text: str, option: str) -> list[float]:
    """Turn ``0,0,10`` into three numbers."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3:
        raise typer.BadParameter(f"{text!r}; write three numbers such as 0,0,10", param_hint=option)
    return numbers
