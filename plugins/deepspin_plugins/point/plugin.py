"""``deepspin point``: one structure through one model, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepspin_ase.command_values import numbers_by_symbol

if TYPE_CHECKING:
    from deepspin_plugins.point.evaluation import SinglePoint


class PointPlugin:
    """Energy and all derivatives of one structure."""

    name = "point"
    summary = "Energy, forces, stress, magnetic forces and torques of one structure."
    api_version = 1
    required_properties = ("energy", "forces", "magnetic_forces")

    def command(
        self,
        structure: Annotated[Path, typer.Argument(help="Structure file that ASE can read, with moments.")],
        model: Annotated[str, typer.Option(help="Name of a shipped model, or a checkpoint file.")],
        moments: Annotated[
            str, typer.Option(help="Moments along +z in µB if the file has none, e.g. Fe=2.2,O=0.")
        ] = "",
        index: Annotated[int, typer.Option(help="Which frame of the file; -1 is the last.")] = -1,
        output: Annotated[
            Path | None, typer.Option(help="Write structure and results (.extxyz or .traj) here.")
        ] = None,
        picture: Annotated[Path | None, typer.Option(help="Draw forces and torques into this file.")] = None,
        device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
        max_rows: Annotated[int, typer.Option(help="Longest table of atoms; largest torques are kept.")] = 40,
    ) -> None:
        """Evaluate one structure: energy, stress, and per atom moment, force, magnetic force and torque."""
        import deepspin_ase
        from deepspin_ase.structure_file import read_structure
        from deepspin_plugins.point.evaluation import single_point

        atoms = read_structure(structure, index)
        if moments:
            values = numbers_by_symbol(moments, "--moments")
            deepspin_ase.set_moments(atoms, deepspin_ase.ferromagnet(atoms, values))
        atoms.calc = deepspin_ase.DeepSpin(model, device=device)
        result = single_point(atoms)
        typer.echo(format_table(result, max_rows=max_rows))
        if output is not None:
            deepspin_ase.write_results(output, atoms)
        if picture is not None:
            from matplotlib.figure import Figure

            figure = Figure(figsize=(7, 4), layout="constrained")
            result.plot(figure.subplots())
            figure.savefig(picture)


plugin = PointPlugin()


def format_table(result: SinglePoint, *, max_rows: int = 40) -> str:
    """Summary and per-atom table of a result as text.

    Parameters
    ----------
    result
        What to show.
    max_rows
        Longest table; of more atoms those with the largest torques are shown, in the order of the structure.
    """
    import numpy as np

    count = len(result.symbols)
    per_atom = result.energy / max(count, 1)
    lines = [
        f"energy        {result.energy:16.8f} eV  ({per_atom:.8f} eV/atom, {count} atoms)",
        f"max force     {1e3 * result.max_force:16.4f} meV/Å",
        f"max torque    {1e3 * result.max_torque:16.4f} meV/rad",
    ]
    if np.isfinite(result.stress).all():
        stress = "  ".join(f"{1e3 * s:.4f}" for s in result.stress)
        lines.append(f"stress        {stress} meV/Å³ (xx yy zz yz xz xy)")
    lines.append("No relaxation was made: forces and torques of a stationary state would be zero.")
    torque = np.linalg.norm(result.magnetic_torques, axis=1)
    shown = np.sort(np.argsort(-torque, kind="stable")[: max(max_rows, 0)])
    lines.append("")
    columns = f"{'moment (µB)':^26} {'magnetic force (meV/µB)':^32} {'|force|':>10} {'|torque|':>10}"
    lines.append(f"{'atom':>5} {'':2} {columns}")
    lines.append(f"{'':8} {'':26} {'':32} {'meV/Å':>10} {'meV/rad':>10}")
    force = np.linalg.norm(result.forces, axis=1)
    for i in shown:
        moment = " ".join(f"{m:8.4f}" for m in result.moments[i] + 0.0)  # + 0.0: no "-0.0000"
        field = " ".join(f"{f:10.4f}" for f in 1e3 * result.magnetic_forces[i] + 0.0)
        lines.append(f"{i:5d} {result.symbols[i]:2} {moment} {field} {1e3 * force[i]:10.4f} {1e3 * torque[i]:10.4f}")
    if len(shown) < count:
        lines.append(f"({count - len(shown)} atoms with smaller torques are not shown; see --max-rows)")
    return "\n".join(lines)
