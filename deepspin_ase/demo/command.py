"""The command ``deepspin demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepspin_ase.demo.study import Study


def demo(
    output: Annotated[Path, typer.Option(help="Directory for pictures and numbers.")] = Path("demo_output"),
    model: Annotated[str, typer.Option(help="A model of NiO: shipped name or checkpoint.")] = "nio",
    steps: Annotated[int, typer.Option(min=10, help="Steps of 1 fs of molecular dynamics.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of displacements, tilts and velocities.")] = 1,
) -> None:
    """The main job, with pictures: relaxation, torques, dynamics, magnons and phonons of NiO, T_c of bcc iron."""
    import json
    from dataclasses import asdict
    from functools import partial

    import numpy as np

    from deepspin_ase import DeepSpin, write_results
    from deepspin_ase.demo.crystal import bond_misalignment, disturb, nickel_oxide
    from deepspin_ase.demo.curie import run_curie
    from deepspin_ase.demo.magnons import run_magnons
    from deepspin_ase.demo.phonons import run_phonons
    from deepspin_ase.demo.potential import draw, relax, run_dynamics, tilt_curve

    studies: Final[dict[str, tuple[str, Callable[[Path], Study | None]]]] = {
        "magnons": ("magnons of the ordered crystal", partial(run_magnons, model)),
        "phonons": ("phonons of the ordered crystal", partial(run_phonons, model)),
        "curie": ("bcc iron: order against temperature, by Monte Carlo", run_curie),
    }
    parts = 3 + len(studies)
    atoms = nickel_oxide()
    atoms.calc = DeepSpin(model)
    typer.echo(f"NiO, {len(atoms)} atoms, antiferromagnet of type II, model {model!r}")
    disturb(atoms, seed)
    misaligned = bond_misalignment(atoms)
    typer.echo(f"1/{parts} relaxing positions and moments together ...")
    relaxation = relax(atoms)
    typer.echo(f"2/{parts} turning one sublattice against the other ...")
    curve = tilt_curve(atoms)
    typer.echo(f"3/{parts} molecular dynamics, {steps} fs at constant energy ...")
    dynamics = run_dynamics(atoms.copy(), atoms.calc, steps=steps, seed=seed)
    output.mkdir(parents=True, exist_ok=True)
    numbers = {
        "relaxation_steps": len(relaxation.energy) - 1,
        "energy_gain_meV_per_atom": 1e3 * float(relaxation.energy[0] - relaxation.energy[-1]),
        "max_force_start_eV_per_A": float(relaxation.force[0]),
        "max_force_end_eV_per_A": float(relaxation.force[-1]),
        "max_torque_start_meV": 1e3 * float(relaxation.torque[0]),
        "max_torque_end_meV": 1e3 * float(relaxation.torque[-1]),
        "Ni_O_Ni_misalignment_start_deg": misaligned,
        "Ni_O_Ni_misalignment_end_deg": bond_misalignment(atoms),
        "torque_vs_energy_slope_max_difference_meV": 1e3
        * float(np.abs(curve.from_torques - curve.from_energies).max()),
        "torque_max_along_curve_meV": 1e3 * float(np.abs(curve.from_torques).max()),
        "energy_drift_eV_per_atom_per_ps": dynamics.drift,
        "mean_temperature_K": float(dynamics.temperature[len(dynamics.temperature) // 2 :].mean()),
    }
    draw(relaxation, curve, dynamics).savefig(output / "nio.png", dpi=150)
    np.savez(
        output / "nio.npz",
        **{
            f"{name}_{key}": value
            for name, part in (("relaxation", relaxation), ("tilt", curve), ("dynamics", dynamics))
            for key, value in asdict(part).items()
        },
    )
    write_results(output / "nio_relaxed.extxyz", atoms)

    remarks = []
    for number, (name, (title, run)) in enumerate(studies.items(), start=4):
        typer.echo(f"{number}/{parts} {title} ...")
        study = run(output / name)
        if study is not None:
            numbers |= study.numbers
            remarks.append(study.remark)
            study.figure.savefig(output / f"{name}.png", dpi=150)
    (output / "demo.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    typer.echo("\n" + "\n".join(f"{key:46s} {value:14.6g}" for key, value in numbers.items()))
    typer.echo("\n" + "\n".join(remarks))
    typer.echo(f"\npictures, numbers and the relaxed structure are in {output}/")
