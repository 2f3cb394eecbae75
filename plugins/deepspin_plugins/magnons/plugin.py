"""``deepspin magnons``: spin waves of a structure as tables and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepspin_ase.command_values import numbers_by_symbol


class MagnonsPlugin:
    """Magnon bands, density of states and S(q, ω) of a magnetic structure."""

    name = "magnons"
    summary = "Magnon bands, density of states, S(q, ω) and coupled magnon-phonon bands."
    api_version = 1
    required_properties = ("magnetic_forces",)

    def command(
        self,
        structure: Annotated[Path, typer.Argument(help="Magnetic cell with relaxed positions and moments.")],
        model: Annotated[str, typer.Option(help="Name of a shipped model, or a checkpoint file.")] = "",
        spin_model: Annotated[
            Path | None, typer.Option(help="HeisenbergModel file (.npz) to use instead of a potential.")
        ] = None,
        moments: Annotated[str, typer.Option(help="Moments along +z in µB if the file has none: Fe=2.2,O=0.")] = "",
        index: Annotated[int, typer.Option(help="Which frame of the file; -1 is the last.")] = -1,
        cutoff: Annotated[float, typer.Option(help="Å: the supercell holds all pairs up to here.")] = 6.0,
        exchange: Annotated[
            bool, typer.Option("--exchange", help="Go through exchange tensors J_ij instead of the full spin Hessian.")
        ] = False,
        relax: Annotated[bool, typer.Option(help="Relax the directions of the moments first.")] = True,
        path: Annotated[str, typer.Option(help="Letters of special points, e.g. GNPGH; default: seekpath's.")] = "",
        mesh: Annotated[int, typer.Option(help="Mesh points per direction for the density of states.")] = 20,
        ions: Annotated[str, typer.Option(help="Charges for magnetic form factors in S(q, ω), e.g. Ni=2.")] = "",
        temperature: Annotated[float, typer.Option(help="K, for S(q, ω).")] = 0.0,
        phonons: Annotated[bool, typer.Option("--phonons", help="Also couple to the lattice: hybrid bands.")] = False,
        output: Annotated[Path, typer.Option(help="Folder for tables and pictures.")] = Path("magnons"),
        device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    ) -> None:
        """Magnon bands, density of states and neutron spectrum of a magnetic structure.

        Writes bands.csv, dos.csv, summary.yaml, pictures (.png) and results (.npz) into a folder.
        """
        from deepspin_ase.errors import InputError
        from deepspin_plugins.magnons.command import Job, run

        if bool(model) == (spin_model is not None):
            raise InputError("give either --model (a potential) or --spin-model (a HeisenbergModel file).")
        if spin_model is not None and (exchange or phonons):
            raise InputError("--exchange and --phonons need a potential (--model); a spin model is bilinear and rigid.")
        job = Job(
            structure=structure,
            model=model,
            spin_model=spin_model,
            moments=numbers_by_symbol(moments, "--moments"),
            index=index,
            cutoff=cutoff,
            exchange=exchange,
            relax=relax,
            path=path or None,
            mesh=mesh,
            ions={symbol: round(charge) for symbol, charge in numbers_by_symbol(ions, "--ions").items()} or None,
            temperature=temperature,
            phonons=phonons,
            output=output,
            device=device,
        )
        typer.echo(run(job))


plugin = MagnonsPlugin()
