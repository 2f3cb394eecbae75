"""``deepspin label``: first-principles labels for a file of structures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


class LabelPlugin:
    """Labels from ABINIT, VASP + DeltaSpin or ABACUS."""

    name = "label"
    summary = "Label structures with ABINIT, VASP DeltaSpin or ABACUS (constrained moments)."
    api_version = 1
    required_properties = ()

    def command(
        self,
        structures: Annotated[
            Path | None, typer.Argument(help="Structures with moments (extxyz, or a format of ASE).")
        ] = None,
        engine: Annotated[str, typer.Option(help="abinit, vasp-deltaspin or abacus.")] = "abinit",
        settings: Annotated[
            Path | None, typer.Option(help="YAML file with settings of the engine; see docs/labelers.md.")
        ] = None,
        program: Annotated[
            str,
            typer.Option(help="Command that runs the engine, e.g. 'mpirun -n 4 abinit'; default for abinit: abinit."),
        ] = "",
        directory: Annotated[Path, typer.Option(help="Where calculations live; give it again to resume.")] = Path(
            "labels"
        ),
        output: Annotated[Path, typer.Option(help="Labelled frames (extxyz).")] = Path("labelled.extxyz"),
        workers: Annotated[int, typer.Option(min=1, help="Calculations at a time.")] = 1,
        retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Calculate again what failed.")] = False,
        prepare: Annotated[
            bool, typer.Option("--prepare", help="Only write inputs (vasp-deltaspin, abacus); run again to collect.")
        ] = False,
        status: Annotated[bool, typer.Option("--status", help="Only count what is finished, failed, running.")] = False,
    ) -> None:
        """Label structures: energy, forces, stress, magnetic forces and the moments reached.

        Every calculation is a directory with a state file: stop at any moment and run the same command to go on.
        """
        from deepspin_plugins.labelers.command import Job, run, status_text

        if status:
            typer.echo(status_text(directory))
            return
        if structures is None:
            raise typer.BadParameter("give a file of structures, or --status", param_hint="STRUCTURES")
        job = Job(structures, engine, settings, program, directory, output, workers, retry_failed, prepare)
        typer.echo(run(job))


plugin = LabelPlugin()
