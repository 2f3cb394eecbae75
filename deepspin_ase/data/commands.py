"""The commands ``deepspin convert`` and ``deepspin inspect``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from deepspin_ase.data.frames import Frame

_FORMATS = "extxyz, deepmd-npy, deepmd-tf, abacus, vasp-deltaspin"
_KEYS_HELP = "Option of the format as name=value, e.g. energy_key=dft_energy or species=Ni,O. May be repeated."
_SPIN_HELP = "deepmd-tf only: species:virtual_len:spin_norm in Å and µB, e.g. Ni:0.4:1.2737. May be repeated."


def convert(
    inputs: Annotated[list[Path], typer.Argument(help="Files or directories to read.", metavar="INPUT...")],
    output: Annotated[Path, typer.Argument(help="File (.extxyz) or directory to write.", metavar="OUTPUT")],
    from_format: Annotated[
        str | None,
        typer.Option("--from", help=f"Format of the inputs: {_FORMATS}. Default: from the content."),
    ] = None,
    to_format: Annotated[
        str | None, typer.Option("--to", help="Format to write. Default: extxyz for .extxyz and .xyz.")
    ] = None,
    read_option: Annotated[list[str] | None, typer.Option("--read-option", "-r", help=_KEYS_HELP)] = None,
    write_option: Annotated[list[str] | None, typer.Option("--write-option", "-w", help=_KEYS_HELP)] = None,
    spin: Annotated[list[str] | None, typer.Option("--spin", help=_SPIN_HELP)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Convert labelled frames between file formats.

    Units and signs are converted at the border: eV, Å, µB, magnetic forces -dE/dm in eV/µB.
    """
    from deepspin_ase.data.registry import write_frames
    from deepspin_ase.errors import InputError

    reading, writing = parse_options(read_option), parse_options(write_option)
    if spin:
        pairs = parse_spin(spin)
        if from_format == "deepmd-tf" or (from_format is None and _any_pseudo_atoms(inputs)):
            reading["spin"] = pairs
        if to_format == "deepmd-tf":
            writing["spin"] = pairs
        if "spin" not in reading and "spin" not in writing:
            raise InputError("--spin is for the format deepmd-tf; name it with --from or --to")
    if output.exists() and not overwrite and (output.is_file() or any(output.iterdir())):
        raise InputError(f"{output} exists; give --overwrite to replace it")
    if any(output.resolve() == source.resolve() for source in inputs):
        raise InputError(f"{output} is an input, too; write to another place")
    if overwrite and to_format in ("deepmd-npy", "deepmd-tf"):
        writing["overwrite"] = True
    frames = _read_all(inputs, from_format, reading)
    with _busy(f"Writing {output}"):
        write_frames(output, frames, to_format, **writing)
    labels = sorted({name for frame in frames for name in frame.labels.available})
    typer.echo(f"{len(frames)} frames ({', '.join(labels) or 'no labels'}) written to {output}")


def inspect(
    inputs: Annotated[list[Path], typer.Argument(help="Files or directories to read.", metavar="FILE...")],
    picture: Annotated[
        Path | None, typer.Option("--picture", "-p", help="Write histograms to this file (.png, .pdf, .svg).")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the report to this file as JSON.")] = None,
    from_format: Annotated[
        str | None,
        typer.Option("--from", help=f"Format of the inputs: {_FORMATS}. Default: from the content."),
    ] = None,
    read_option: Annotated[list[str] | None, typer.Option("--read-option", "-r", help=_KEYS_HELP)] = None,
    spin: Annotated[list[str] | None, typer.Option("--spin", help=_SPIN_HELP)] = None,
) -> None:
    """Check and summarise labelled frames: ranges, duplicates, and whether magnetic forces match energies."""
    from deepspin_ase.data.inspect import inspect_frames
    from deepspin_ase.errors import InputError

    formats = (".png", ".pdf", ".svg")
    if picture is not None and picture.suffix.lower() not in formats:
        raise InputError(f"the picture {picture.name!r} must end in one of: {', '.join(formats)}")
    options = parse_options(read_option)
    if spin:
        options["spin"] = parse_spin(spin)
    frames = _read_all(inputs, from_format, options)
    with _busy(f"Inspecting {len(frames)} frames"):
        report = inspect_frames(frames)
    typer.echo(report.to_text())
    if json is not None:
        report.save(json)
        typer.echo(f"report written to {json}")
    if picture is not None:
        report.plot().savefig(picture, dpi=150)
        typer.echo(f"picture written to {picture}")


def parse_options(words: Iterable[str] | None) -> dict[str, Any]:
    """``["set_size=100", "species=Ni,O"]`` -> ``{"set_size": 100, "species": ["Ni", "O"]}``.

    Raises
    ------
    InputError
        A word without ``=``, or a name that occurs twice.
    """
    from deepspin_ase.errors import InputError

    options: dict[str, Any] = {}
    for word in words or ():
        name, equals, text = word.partition("=")
        if not equals or not name or not text:
            raise InputError(f"{word!r} is not of the form name=value")
        if name in options:
            raise InputError(f"the option {name!r} is given twice")
        options[name] = _value(name, text)
    return options


def parse_spin(words: Iterable[str]) -> dict[str, tuple[float, float]]:
    """``["Ni:0.4:1.2737"]`` -> ``{"Ni": (0.4, 1.2737)}``.

    Raises
    ------
    InputError
        Another form.
    """
    from deepspin_ase.errors import InputError

    pairs = {}
    for word in words:
        parts = word.split(":")
        try:
            symbol, length, norm = parts[0], float(parts[1]), float(parts[2])
        except (IndexError, ValueError):
            raise InputError(f"{word!r} is not of the form species:virtual_len:spin_norm, e.g. Ni:0.4:1.2737") from None
        pairs[symbol] = (length, norm)
    return pairs


def _value(name: str, text: str) -> Any:
    if name in ("species", "type_map"):
        return text.split(",")
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return int(text) if text.isdigit() else text


def _any_pseudo_atoms(inputs: Iterable[Path]) -> bool:
    from deepspin_ase.data.registry import guess_format

    return any(path.is_dir() and guess_format(path) == "deepmd-tf" for path in inputs)


def _read_all(inputs: list[Path], from_format: str | None, options: dict[str, Any]) -> list[Frame]:
    """Frames of all inputs."""
    from deepspin_ase.data.registry import read_frames

    frames: list[Frame] = []
    for number, path in enumerate(inputs, start=1):
        with _busy(f"Reading {path} ({number} of {len(inputs)})"):
            frames.extend(read_frames(path, from_format, **options))
    return frames


@contextmanager
def _busy(text: str) -> Iterator[None]:
    """Show that work is going on, on a terminal only."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield
