"""What the potential alone does: relaxation of atoms and moments, torques, dynamics at constant energy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase import Atoms
    from matplotlib.figure import Figure
    from numpy.typing import NDArray


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
