"""``deepspin demo``: the main job on a shipped model, from a disturbed antiferromagnet to pictures and numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

LATTICE_CONSTANT = 4.186
"""Å; the lattice constant of the first-principles data behind the model ``nio``."""

MOMENT = 1.2737
"""µB on Ni; the constrained length in those data (the projection on an atomic sphere, not the full moment)."""

IONIC_MOMENT = 2.0
"""µB; the spin S = 1 of Ni²⁺. Magnon energies are proportional to 1/|m|, see ``docs/magnons.md``."""

NEUTRON_TOP, NEUTRON_SLOPE = 117.0, 250.0
"""meV and meV Å; M. T. Hutchings and E. J. Samuelsen, Phys. Rev. B 6, 3447 (1972)."""


@dataclass(frozen=True)
class Relaxation:
    """Course of a joint relaxation of positions and moment directions, one entry per step."""

    energy: NDArray[Any]
    """eV per atom."""
    force: NDArray[Any]
    """Largest force, eV/Å."""
    torque: NDArray[Any]
    """Largest torque, eV/rad."""


@dataclass(frozen=True)
class TiltCurve:
    """Energy while one sublattice turns rigidly against the other."""

    angle: NDArray[Any]
    """Degrees."""
    energy: NDArray[Any]
    """eV."""
    from_torques: NDArray[Any]
    """dE/dθ = -n·Σ τ, eV/rad."""
    from_energies: NDArray[Any]
    """dE/dθ by central differences of the energy, eV/rad."""


@dataclass(frozen=True)
class Magnons:
    """Spin waves of the ordered crystal, as the plugin ``magnons`` writes them."""

    distance: NDArray[Any]
    """1/Å, along the path."""
    energies: NDArray[Any]
    """meV, one column per mode."""
    ticks: NDArray[Any]
    """1/Å, special points of the path."""
    labels: list[str]
    """Their names."""
    spectrum_energy: NDArray[Any]
    """meV."""
    intensity: NDArray[Any]
    """Neutron S(q, ω), one row per point of the path."""
    velocity: float
    """Slope at Γ along a cubic axis, meV Å."""

    @property
    def top(self) -> float:
        """Highest energy on the path, meV."""
        return float(self.energies.max())


@dataclass(frozen=True)
class Dynamics:
    """Molecular dynamics at fixed moments and constant energy."""

    time: NDArray[Any]
    """ps."""
    total: NDArray[Any]
    """Potential plus kinetic energy, eV per atom."""
    temperature: NDArray[Any]
    """K."""

    @property
    def drift(self) -> float:
        """Slope of the total energy, eV/atom/ps."""
        import numpy as np

        return float(np.polyfit(self.time, self.total, 1)[0])


def demo(
    output: Annotated[Path, typer.Option(help="Directory for pictures and numbers.")] = Path("demo_output"),
    model: Annotated[str, typer.Option(help="A model of NiO: shipped name or checkpoint.")] = "nio",
    steps: Annotated[int, typer.Option(min=10, help="Steps of 1 fs of molecular dynamics.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of displacements, tilts and velocities.")] = 1,
) -> None:
    """Relax NiO from tilted moments and displaced atoms, turn its sublattices, run dynamics, calculate magnons."""
    import json

    import numpy as np

    from deepspin_ase import DeepSpin, write_results

    atoms = nickel_oxide()
    atoms.calc = DeepSpin(model)
    typer.echo(f"NiO, {len(atoms)} atoms, antiferromagnet of type II, model {model!r}")
    disturb(atoms, seed)
    misaligned = bond_misalignment(atoms)
    typer.echo("1/4 relaxing positions and moments together ...")
    relaxation = relax(atoms)
    typer.echo("2/4 turning one sublattice against the other ...")
    curve = tilt_curve(atoms)
    typer.echo(f"3/4 molecular dynamics, {steps} fs at constant energy ...")
    dynamics = run_dynamics(atoms.copy(), atoms.calc, steps=steps, seed=seed)
    output.mkdir(parents=True, exist_ok=True)
    typer.echo("4/4 magnons of the ordered crystal ...")
    magnons = run_magnons(model, output / "magnons")

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
    if magnons is not None:
        numbers |= {"magnon_top_meV": magnons.top, "magnon_slope_meV_A": magnons.velocity}
        draw_magnons(magnons).savefig(output / "magnons.png", dpi=150)
    draw(relaxation, curve, dynamics).savefig(output / "nio.png", dpi=150)
    (output / "nio.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    np.savez(
        output / "nio.npz",
        **{
            f"{name}_{key}": value
            for name, part in (("relaxation", relaxation), ("tilt", curve), ("dynamics", dynamics))
            for key, value in asdict(part).items()
        },
    )
    write_results(output / "nio_relaxed.extxyz", atoms)
    typer.echo("\n" + "\n".join(f"{key:46s} {value:14.6g}" for key, value in numbers.items()))
    if magnons is not None:
        ionic = MOMENT / IONIC_MOMENT
        typer.echo(
            f"\nmagnons: top {magnons.top:.0f} meV, slope {magnons.velocity:.0f} meV Å; with {IONIC_MOMENT:g} µB, the "
            f"moment of Ni²⁺, {ionic * magnons.top:.0f} and {ionic * magnons.velocity:.0f}; "
            f"neutrons {NEUTRON_TOP:g} and {NEUTRON_SLOPE:g}"
        )
    typer.echo(f"\npictures, numbers and the relaxed structure are in {output}/")


def nickel_oxide(supercell: Sequence[Sequence[int]] = ((2, 2, 0), (0, 2, 2), (2, 0, 2))) -> Atoms:
    """NiO with ferromagnetic (111) sheets of alternating direction (AFM II), moments along z; 32 atoms by default."""
    from ase.build import bulk, make_supercell

    from deepspin_ase import collinear_order, set_moments

    primitive = bulk("NiO", "rocksalt", a=LATTICE_CONSTANT)
    atoms = make_supercell(primitive, supercell)
    moments = collinear_order(atoms, {"Ni": MOMENT, "O": 0.0}, (0.5, 0.5, 0.5), cell=primitive.cell.array)
    set_moments(atoms, moments)
    return atoms


def disturb(atoms: Atoms, seed: int) -> None:
    """Displace all atoms by 0.03 Å (rms per component) and tilt all moments by 20° at random."""
    import numpy as np

    from deepspin_ase import get_moments, set_moments, tilt

    rng = np.random.default_rng(seed)
    atoms.positions += rng.normal(0, 0.03, (len(atoms), 3))
    set_moments(atoms, tilt(get_moments(atoms), 20.0, rng))


def relax(atoms: Atoms, *, fmax: float = 1e-3) -> Relaxation:
    """Relax positions and moment directions together until forces are below ``fmax`` (eV/Å)."""
    import numpy as np
    from ase.optimize import FIRE

    from deepspin_ase import SpinLatticeFilter

    rows = []
    target = SpinLatticeFilter(atoms)

    def record() -> None:
        force = np.linalg.norm(atoms.get_forces(), axis=1).max()
        torque = np.linalg.norm(atoms.calc.get_magnetic_torques(atoms), axis=1).max()
        rows.append((atoms.get_potential_energy() / len(atoms), force, torque))

    optimizer = FIRE(target, logfile=None)
    optimizer.attach(record)
    optimizer.run(fmax=fmax, steps=1000)
    return Relaxation(*np.array(rows).T)


def tilt_curve(atoms: Atoms, *, largest: float = 60.0, points: int = 13, step: float = 0.05) -> TiltCurve:
    """Turn the moments of one sublattice by 0..``largest`` degrees about an axis n perpendicular to them.

    A moment that turns by dθ about n changes by n × m dθ, so dE/dθ = -Σ F^m·(n × m) = -n·Σ τ.
    """
    import numpy as np
    from scipy.spatial.transform import Rotation

    from deepspin_ase import get_moments, set_moments

    start = get_moments(atoms)
    axis = start[np.argmax(np.linalg.norm(start, axis=1))]
    up = start @ axis > 0.5 * (axis @ axis)
    normal = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    normal /= np.linalg.norm(normal)
    turned = atoms.copy()

    def energy(degrees: float) -> float:
        moments = start.copy()
        moments[up] = Rotation.from_rotvec(np.deg2rad(degrees) * normal).apply(start[up])
        set_moments(turned, moments)
        return float(atoms.calc.get_potential_energy(turned))

    angles = np.linspace(0, largest, points)
    energies, torques, slopes = [], [], []
    for angle in angles:
        slopes.append((energy(angle + step) - energy(angle - step)) / (2 * np.deg2rad(step)))
        energies.append(energy(angle))
        torques.append(-normal @ atoms.calc.get_magnetic_torques(turned)[up].sum(0))
    return TiltCurve(angles, np.array(energies), np.array(torques), np.array(slopes))


def run_dynamics(
    atoms: Atoms, calc: Any, *, steps: int, seed: int, timestep: float = 1.0, temperature: float = 100.0
) -> Dynamics:
    """Velocity-Verlet dynamics at fixed moments; velocities start at twice the temperature that they settle to.

    100 K is what the data behind the model ``nio`` support: their displacements are 0.01 Å (rms per component).
    """
    import numpy as np
    from ase.md.verlet import VelocityVerlet
    from ase.units import fs, kB

    atoms.calc = calc
    width = np.sqrt(2 * temperature * kB * atoms.get_masses())[:, None]  # Maxwell–Boltzmann
    momenta = np.random.default_rng(seed).normal(0, width, (len(atoms), 3))
    atoms.set_momenta(momenta - momenta.mean(0))
    rows = []
    dynamics = VelocityVerlet(atoms, timestep * fs)
    dynamics.attach(
        lambda: rows.append(
            (
                1e-3 * timestep * dynamics.nsteps,
                atoms.get_total_energy() / len(atoms),
                atoms.get_temperature(),
            )
        )
    )
    dynamics.run(steps)
    return Dynamics(*np.array(rows).T)


def run_magnons(model: str, folder: Path) -> Magnons | None:
    """What ``deepspin magnons`` says about the magnetic cell of four atoms; None, with a message, if it cannot.

    The relaxed supercell is this crystal, up to the nearly free angles that :func:`bond_misalignment` explains.
    """
    import io
    from contextlib import redirect_stdout

    import numpy as np
    import yaml

    from deepspin_ase.errors import DeepSpinError
    from deepspin_ase.plugin import load_plugin

    folder.mkdir(parents=True, exist_ok=True)
    structure = folder / "magnetic_cell.extxyz"
    nickel_oxide(((0, 1, 1), (1, 0, 1), (1, 1, 0))).write(structure)
    try:
        with redirect_stdout(io.StringIO()):
            load_plugin("magnons").command(structure, model=model, exchange=True, ions="Ni=2", mesh=8, output=folder)
    except DeepSpinError as problem:
        typer.echo(f"    left out: {problem}")
        return None
    with np.load(folder / "bands.npz") as bands, np.load(folder / "spectrum.npz") as spectrum:
        summary = yaml.safe_load((folder / "summary.yaml").read_text(encoding="utf-8"))
        return Magnons(
            distance=bands["distance"],
            energies=bands["energies"],
            ticks=bands["ticks"],
            labels=bands["labels"].tolist(),
            spectrum_energy=spectrum["energy"],
            intensity=spectrum["intensity"],
            velocity=summary["spin-wave velocities (meV Å)"]["x"][0],
        )


def draw_magnons(magnons: Magnons) -> Figure:
    """Bands next to what neutrons have found, and the neutron spectrum."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    ionic = MOMENT / IONIC_MOMENT
    line = left.plot(magnons.distance, magnons.energies, "C0")[0]
    line.set_label(f"model, {MOMENT:.2f} µB")
    line = left.plot(magnons.distance, ionic * magnons.energies, "C0--")[0]
    line.set_label(f"same exchange, {IONIC_MOMENT:g} µB")
    left.axhline(NEUTRON_TOP, color="C3", lw=1, label="neutrons: top, slope")
    start = np.array([0.0, 0.6 * NEUTRON_TOP])
    left.plot(start / NEUTRON_SLOPE, start, "C3", lw=2.5)
    left.set(xlabel="wavevector", ylabel="magnon energy (meV)", title="NiO: magnons of the learned potential")
    left.set_xticks(magnons.ticks, magnons.labels)
    left.set_xlim(magnons.distance[0], magnons.distance[-1])
    left.set_ylim(0, magnons.spectrum_energy[-1])
    left.legend(loc=(0.12, 0.05), fontsize=8)
    top = np.percentile(magnons.intensity, 99)
    image = right.pcolormesh(
        magnons.distance, magnons.spectrum_energy, magnons.intensity.T, vmax=top, cmap="inferno", shading="nearest"
    )
    figure.colorbar(image, ax=right, label="intensity (1/meV per cell)")
    right.set(xlabel="wavevector", title="neutron S(q, ω)")
    return figure


def draw(relaxation: Relaxation, curve: TiltCurve, dynamics: Dynamics) -> Figure:
    """The three parts side by side."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.semilogy(relaxation.torque * 1e3, label="largest torque (meV/rad)")
    left.semilogy(relaxation.force * 1e3, label="largest force (meV/Å)")
    left.set(xlabel="step", title="NiO: joint relaxation")
    left.legend()
    middle.plot(curve.angle, curve.energy - curve.energy[0], "k", label="energy")
    middle.set(xlabel="angle of one sublattice (°)", ylabel="energy (eV)", title="sublattice rotation")
    slope = middle.twinx()
    slope.plot(curve.angle, curve.from_torques, "C3", label="-n·Στ")
    slope.plot(curve.angle, curve.from_energies, "C3o", mfc="none", label="dE/dθ of the energies")
    slope.set_ylabel("slope (eV/rad)", color="C3")
    middle.legend(loc="upper left")
    slope.legend(loc="lower right")
    change = (dynamics.total - dynamics.total[0]) * 1e6
    right.plot(dynamics.time, change, lw=0.8)
    right.set(xlabel="time (ps)", ylabel="change of total energy (µeV/atom)", title="dynamics at constant energy")
    label = f"drift {dynamics.drift:.1e} eV/atom/ps, {np.mean(dynamics.temperature):.0f} K"
    right.text(0.97, 0.04, label, transform=right.transAxes, ha="right")
    return figure


def bond_misalignment(atoms: Atoms) -> float:
    """Largest deviation from 180° between the moments of two Ni on either side of an O, in degrees.

    These bonds (J2) make the order. The four simple cubic lattices of Ni that they connect are coupled to each other
    only weakly, since their other exchange fields cancel: nearly free angles, which a relaxation leaves where they are.
    """
    import numpy as np
    from ase.neighborlist import neighbor_list

    from deepspin_ase import get_moments

    i, j, distance = neighbor_list("ijd", atoms, 1.15 * LATTICE_CONSTANT)
    across = (atoms.numbers[i] == 28) & (atoms.numbers[j] == 28) & (distance > 0.85 * LATTICE_CONSTANT)
    unit = get_moments(atoms)[np.stack([i, j])[:, across]]
    unit = unit / np.linalg.norm(unit, axis=2, keepdims=True)
    return float(np.degrees(np.arccos(np.clip(-(unit[0] * unit[1]).sum(1).max(), -1, 1))))
