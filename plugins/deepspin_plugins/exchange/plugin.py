"""``deepspin exchange``: exchange constants of a structure as tables, pictures and files of spin codes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepspin_ase.command_values import numbers_by_symbol


class ExchangePlugin:
    """Exchange tensors from the second derivatives of a potential."""

    name = "exchange"
    summary = "Exchange constants, Dzyaloshinskii-Moriya vectors and anisotropy of a structure."
    api_version = 1
    required_properties = ("magnetic_forces",)

    def command(
        self,
        structure: Annotated[Path, typer.Argument(help="Magnetic cell with the moments of its reference state.")],
        model: Annotated[str, typer.Option(help="Name of a shipped model, or a checkpoint file.")],
        cutoff: Annotated[float, typer.Option(help="Longest bond, Å.")] = 6.0,
        supercell: Annotated[str, typer.Option(help="auto, one number of repeats, or three: 3,3,2.")] = "auto",
        moments: Annotated[str, typer.Option(help="Moments along +z in µB if the file has none: Fe=2.2,O=0.")] = "",
        index: Annotated[int, typer.Option(help="Which frame of the file; -1 is the last.")] = -1,
        symmetrise: Annotated[
            bool, typer.Option("--symmetrise", help="Average over the magnetic space group (spglib).")
        ] = False,
        converge: Annotated[
            bool, typer.Option("--converge", help="Repeat with a larger supercell and report the change of J.")
        ] = False,
        method: Annotated[str, typer.Option(help="auto, autograd or finite-differences.")] = "auto",
        write: Annotated[str, typer.Option(help="Also write for other codes: tb2j,uppasd,vampire,spirit.")] = "",
        output: Annotated[Path | None, typer.Option(help="Folder for tables, picture, .npz and .json.")] = None,
        device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    ) -> None:
        """Exchange tensors J_ij of a structure from the exact second derivatives of a potential.

        Prints a table per neighbour shell; with --output also writes exchange.npz (for Python), exchange.json,
        exchange.png and model.npz (a spin model, for `deepspin magnons --spin-model`).
        """
        from deepspin_plugins.exchange.command import Job, run

        job = Job(
            structure=structure,
            model=model,
            cutoff=cutoff,
            supercell=_supercell(supercell),
            moments=numbers_by_symbol(moments, "--moments"),
            index=index,
            symmetrise=symmetrise,
            converge=converge,
            method=method,
            write=tuple(filter(None, (name.strip() for name in write.split(",")))),
            output=output,
            device=device,
        )
        typer.echo(run(job))


plugin = ExchangePlugin()


def _supercell(text: str) -> str | int | tuple[int, ...]:
    """Turn ``auto``, ``3`` or ``3,3,2`` into what ``exchange_tensors`` takes."""
    if text == "auto":
        return text
    try:
        repeats = tuple(int(word) for word in text.split(","))
    except ValueError:
        repeats = ()
    if len(repeats) not in (1, 3) or min(repeats, default=0) < 1:
        raise typer.BadParameter(f"{text!r}; allowed: auto, one number, or three: 3,3,2", param_hint="--supercell")
    return repeats[0] if len(repeats) == 1 else repeats
