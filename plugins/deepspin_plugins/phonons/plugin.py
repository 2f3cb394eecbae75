"""``deepspin phonons``: phonons of a structure as tables, pictures and phonopy.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepspin_ase.command_values import numbers_by_symbol


class PhononsPlugin:
    """Phonon bands, density of states, thermal properties and elasticity of a magnet."""

    name = "phonons"
    summary = "Phonons with moments through phonopy: bands, thermal properties, elasticity."
    api_version = 1
    required_properties = ("energy", "forces")

    def command(
        self,
        structure: Annotated[Path, typer.Argument(help="Cell with moments.")],
        model: Annotated[str, typer.Option(help="Name of a shipped model, or a checkpoint file.")],
        supercell: Annotated[
            tuple[int, int, int], typer.Option(help="Repeats along the three cell vectors; default by symmetry.")
        ] = (0, 0, 0),
        moments: Annotated[str, typer.Option(help="Moments along +z in µB if the file has none: Fe=2.2,O=0.")] = "",
        index: Annotated[int, typer.Option(help="Which frame of the file; -1 is the last.")] = -1,
        method: Annotated[str, typer.Option(help="displacements, random or hessian.")] = "displacements",
        distance: Annotated[float, typer.Option(help="Length of a displacement, Å.")] = 0.01,
        state: Annotated[
            str, typer.Option(help="Moments while atoms move: frozen, directions (they turn) or relaxed (and stretch).")
        ] = "frozen",
        relax: Annotated[str, typer.Option(help="What is relaxed first: positions, cell or none.")] = "positions",
        path: Annotated[str, typer.Option(help="Letters of special points, e.g. GNPGH; default: seekpath's.")] = "",
        mesh: Annotated[int, typer.Option(help="Mesh points per direction; default by the size of the cell.")] = 0,
        temperature: Annotated[float, typer.Option(help="Highest temperature of the thermal properties, K.")] = 1000.0,
        born: Annotated[
            str, typer.Option(help="LO modes: a BORN file, or charges like Ni=2.2,O=-2.2 with --dielectric.")
        ] = "",
        dielectric: Annotated[float, typer.Option(help="High-frequency dielectric constant, for --born.")] = 0.0,
        disorder: Annotated[
            int, typer.Option(help="Also the paramagnet: forces averaged over this many states of random moments.")
        ] = 0,
        qha: Annotated[
            tuple[float, float],
            typer.Option(help="Also thermal expansion: lowest and highest volume over that of the cell, 0.97 1.05."),
        ] = (0.0, 0.0),
        follow: Annotated[
            bool, typer.Option("--follow", help="Also follow the most unstable imaginary mode to a lower structure.")
        ] = False,
        output: Annotated[Path, typer.Option(help="Folder for everything; finished forces are taken from it.")] = Path(
            "phonons"
        ),
        workers: Annotated[
            int, typer.Option(help="Processes for the displaced supercells; 1 evaluates them in batches.")
        ] = 1,
        device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    ) -> None:
        """Phonons of a crystal in the magnetic state that it carries.

        Writes phonopy.yaml (phonopy's own commands carry on with it), bands, density of states and thermal properties
        as pictures (.png), tables (.csv) and results (.npz), and summary.yaml. A run that was stopped takes up where
        it was.
        """
        from deepspin_plugins.phonons.command import Job, run

        if any(supercell) and min(supercell) < 1:
            raise typer.BadParameter(f"{supercell}; allowed: three positive numbers", param_hint="--supercell")
        job = Job(
            structure=structure,
            model=model,
            supercell=supercell if any(supercell) else "auto",
            moments=numbers_by_symbol(moments, "--moments"),
            index=index,
            method=method,
            distance=distance,
            state=state,
            relax=relax,
            path=path or None,
            mesh=mesh or None,
            temperature=temperature,
            born=born,
            dielectric=dielectric,
            disorder=disorder,
            qha=qha if any(qha) else None,
            follow=follow,
            output=output,
            workers=workers,
            device=device,
        )
        typer.echo(run(job))


plugin = PhononsPlugin()
