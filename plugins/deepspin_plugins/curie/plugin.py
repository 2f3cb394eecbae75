"""``deepspin curie``: Curie and Néel temperatures as a number with its error, curves and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepspin_ase.command_values import numbers_by_symbol


class CuriePlugin:
    """Ordering temperatures by Monte Carlo of the exchange, or by sampling the potential itself."""

    name = "curie"
    summary = "Curie and Néel temperatures with error bars, m(T), susceptibility and heat capacity."
    api_version = 1
    required_properties = ("magnetic_forces",)

    def command(
        self,
        structure: Annotated[
            Path | None, typer.Argument(help="Magnetic cell with moments; with --direct also the supercell itself.")
        ] = None,
        model: Annotated[str, typer.Option(help="Name of a shipped model, or a checkpoint file.")] = "",
        exchange: Annotated[
            Path | None,
            typer.Option(help="Instead of a potential: HeisenbergModel or exchange file (.npz) of this package."),
        ] = None,
        moments: Annotated[str, typer.Option(help="Moments along +z in µB if the file has none: Fe=2.2,O=0.")] = "",
        index: Annotated[int, typer.Option(help="Which frame of the file; -1 is the last.")] = -1,
        cutoff: Annotated[float, typer.Option(help="Å: longest exchange bond that is extracted.")] = 6.0,
        sizes: Annotated[str, typer.Option(help="Repeats of the cell, e.g. 8,12,16; default: by sites.")] = "",
        accuracy: Annotated[float, typer.Option(help="Relative error of T_c at which sampling ends.")] = 0.003,
        sweeps: Annotated[
            int | None, typer.Option(min=1, help="Largest number of sweeps per size: 8000; with --direct 1000.")
        ] = None,
        temperatures: Annotated[str, typer.Option(help="LOW:HIGH:COUNT in K: the scan; with --direct all.")] = "",
        direct: Annotated[bool, typer.Option("--direct", help="Sample the potential itself; no spin model.")] = False,
        lattice: Annotated[bool, typer.Option("--lattice", help="With --direct: atoms move, too.")] = False,
        spin: Annotated[float, typer.Option(help="S: also print T_c times (S+1)/S, an estimate. 0: not.")] = 0.0,
        seed: Annotated[int, typer.Option(help="Seed of the random numbers.")] = 0,
        output: Annotated[Path, typer.Option(help="Folder for results, pictures and restart files.")] = Path("curie"),
        device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    ) -> None:
        """Curie or Néel temperature with its error: exchange from a potential, Monte Carlo, finite-size analysis.

        Writes result.npz, result.json, curves.csv, curie.png and the exchange model into a folder. Interrupted, the
        same command goes on from where it was.
        """
        from deepspin_plugins.curie.command import Job, run

        job = Job(
            structure=structure,
            model=model,
            exchange=exchange,
            moments=numbers_by_symbol(moments, "--moments"),
            index=index,
            cutoff=cutoff,
            sizes=tuple(int(x) for x in _numbers(sizes, ",", "--sizes")),
            accuracy=accuracy,
            sweeps=sweeps,
            temperatures=_numbers(temperatures, ":", "--temperatures"),
            direct=direct,
            lattice=lattice,
            spin=spin,
            seed=seed,
            output=output,
            device=device,
        )
        typer.echo(run(job))


plugin = CuriePlugin()


def _numbers(text: str, separator: str, option: str) -> tuple[float, ...]:
    """Numbers of a list; a whole number for sizes, LOW:HIGH:COUNT for temperatures."""
    try:
        values = tuple(float(word) for word in text.split(separator) if word)
    except ValueError:
        values = (float("nan"),)
    if separator == "," and any(not x.is_integer() or x < 1 for x in values):
        raise typer.BadParameter(f"{text!r}; allowed: whole numbers, e.g. 8,12,16", param_hint=option)
    if separator == ":" and values and not (len(values) == 3 and 0 < values[0] < values[1] and values[2] >= 2):
        raise typer.BadParameter(f"{text!r}; allowed: LOW:HIGH:COUNT in K, e.g. 200:400:9", param_hint=option)
    return values
