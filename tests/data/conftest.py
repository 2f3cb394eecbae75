"""Made-up frames, and made-up output files of the codes whose formats are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.units import Bohr

from deepspin_ase.data import Frame, Labels
from deepspin_ase.magnetic_calculator import MagneticCalculator
from deepspin_ase.moments import get_moments, set_moments

MakeFrames = Callable[..., list[Frame]]


@pytest.fixture
def make_frames(nio: Atoms, rng: np.random.Generator) -> MakeFrames:
    """``make_frames(n)``: shaken NiO with tilted moments on Ni, none on O, and all labels."""

    def make(count: int = 3, *, stress: bool = True, atoms: Atoms | None = None) -> list[Frame]:
        base = nio if atoms is None else atoms
        magnetic = base.symbols == "Ni"
        frames = []
        for index in range(count):
            image = base.copy()
            image.positions += 0.02 * rng.standard_normal((len(base), 3))
            moments = 0.4 * rng.standard_normal((len(base), 3)) + image.get_initial_magnetic_moments()
            moments[~magnetic] = 0.0
            set_moments(image, moments)
            field = 0.05 * rng.standard_normal((len(base), 3))
            field[~magnetic] = 0.0
            labels = Labels(
                energy=-20.0 + 0.01 * rng.standard_normal(),
                forces=rng.standard_normal((len(base), 3)),
                stress=0.01 * rng.standard_normal(6) if stress else None,
                magnetic_forces=field,
            )
            frames.append(Frame(image, labels, source="made up", index=index, info={"run": 7}))
        return frames

    return make


def assert_same_frame(a: Frame, b: Frame, *, tolerance: float = 0.0) -> None:
    """Same structure, moments and labels."""
    close = {"rtol": 0.0, "atol": tolerance}
    assert list(a.atoms.symbols) == list(b.atoms.symbols)
    np.testing.assert_array_equal(a.atoms.pbc, b.atoms.pbc)
    np.testing.assert_allclose(a.atoms.positions, b.atoms.positions, **close)
    np.testing.assert_allclose(a.atoms.cell.array, b.atoms.cell.array, **close)
    np.testing.assert_allclose(a.moments, b.moments, **close)
    assert a.labels.available == b.labels.available
    for name, value in a.labels.as_dict().items():
        np.testing.assert_allclose(getattr(b.labels, name), value, err_msg=name, **close)


@pytest.fixture
def same_frame() -> Callable[..., None]:
    """The comparison of two frames."""
    return assert_same_frame


def _table(title: str, rows: Sequence[str]) -> str:
    rule = "-" * 91
    return "\n".join([rule, f" {title}", rule, *rows, rule, ""])


class AbacusRun:
    """Text of ABACUS files for two atoms; steps are dicts of fractions, energy, forces, moments, fields."""

    constant = 1.8902  # Bohr
    vectors = np.array([[2.8274254848, 0.0, 0.0], [0.0, 2.9274254848, 0.0], [0.0, 0.3, 3.0274254848]])

    @property
    def cell(self) -> np.ndarray:
        return self.constant * Bohr * self.vectors

    def header(self) -> str:
        rows = "\n".join("  " + "  ".join(f"{x:+.6g}" for x in v) for v in self.vectors)
        return (
            "                              ABACUS v3.7.1\n\n"
            f"                  lattice constant (Bohr) = {self.constant:.6g}\n"
            f"              lattice constant (Angstrom) = {self.constant * Bohr:.6g}\n\n"
            " READING ATOM TYPE 1\n                               atom label = Fe1\n"
            "             number of atom for this type = 1\n"
            " READING ATOM TYPE 2\n                               atom label = O\n"
            "             number of atom for this type = 1\n\n"
            f" Lattice vectors: (Cartesian coordinate: in unit of a_0)\n{rows}\n"
            "K-POINTS DIRECT COORDINATES\nKPOINTS     DIRECT_X  DIRECT_Y  DIRECT_Z WEIGHT\n  1  0.0 0.0 "
            "0.0 1.0\n"
        )

    def coordinates(self, fractions: np.ndarray) -> str:
        rows = [
            f"taud_{name}  " + "  ".join(f"{x:.10f}" for x in row) + "  2.0000  0.0  0.0  0.0"
            for name, row in zip(("Fe11", "O1"), fractions, strict=True)
        ]
        return "DIRECT COORDINATES\n    atom   x   y   z   mag  vx  vy  vz\n" + "\n".join(rows) + "\n\n"

    def step(self, step: dict, *, unit: str = "eV/uB", columns: int = 3, relaxation: int | None = None) -> str:
        def rows(values: np.ndarray) -> list[str]:
            cut = np.asarray(values)[:, 3 - columns :]
            return [f"   {s}  " + "  ".join(f"{x:20.10f}" for x in v) for s, v in zip(("Fe", "O"), cut, strict=True)]

        forces = [
            f"   {s}  " + "  ".join(f"{x:.10f}" for x in v) for s, v in zip(("Fe1", "O1"), step["forces"], strict=True)
        ]
        text = f" STEP OF RELAXATION : {relaxation}\n" if relaxation is not None else ""
        text += _table(f"Magnetic force ({unit})", rows(step["fields"]))
        text += _table("Total Magnetism (uB)", rows(step["moments"]))
        if step.get("converged", True):
            text += f" charge density convergence is achieved\n final etot is {step['energy']:.10f} eV\n"
        else:
            text += " !! convergence has not been achieved @_@\n"
        text += _table("TOTAL-FORCE (eV/Angstrom)", forces)
        if "kbar" in step:
            text += _table("TOTAL-STRESS (KBAR)", ["  ".join(f"{x:.6f}" for x in v) for v in step["kbar"]])
        return text

    footer = " --------\n !FINAL_ETOT_IS 0 eV\n Finish Time  : Fri Aug 23 16:15:04 2024\n"

    def stru(self) -> str:
        rows = "\n".join("  ".join(f"{x:.12f}" for x in v) + " #latvec" for v in self.vectors)
        return (
            "ATOMIC_SPECIES\nFe1 55.845 Fe.upf\nO 15.999 O.upf\n\n"
            f"LATTICE_CONSTANT\n{self.constant:.9f}\nLATTICE_VECTORS\n{rows}\n"
        )

    def dump(self, number: int, positions: np.ndarray, forces: np.ndarray) -> str:
        cell = "\n".join("  ".join(f"{x:.12f}" for x in v) for v in self.vectors)
        rows = "\n".join(
            f"  {i} {s} " + " ".join(f"{x:.12f}" for x in [*r, *f, 0.0, 0.0, 0.0])
            for i, (s, r, f) in enumerate(zip(("Fe", "O"), positions, forces, strict=True))
        )
        return (
            f"MDSTEP:  {number}\nLATTICE_CONSTANT: {self.constant * Bohr:.12f} "
            f"Angstrom\nLATTICE_VECTORS\n{cell}\n"
            "INDEX    LABEL    POSITION (Angstrom)    FORCE (eV/Angstrom)    VELOCITY (Angstrom/fs)\n"
            f"{rows}\n\n\n"
        )


@pytest.fixture
def abacus() -> AbacusRun:
    """Writer of ABACUS files."""
    return AbacusRun()


@pytest.fixture
def abacus_steps(rng: np.random.Generator) -> list[dict]:
    """Three steps for :class:`AbacusRun`."""
    kbar = rng.standard_normal((3, 3))
    return [
        {
            "fractions": np.array([[0.0, 0.1, 0.2], [0.5, 0.5, 0.5]]) + 0.01 * k,
            "energy": -4000.5 - 0.1 * k,
            "forces": rng.standard_normal((2, 3)).round(8),
            "moments": (np.array([[1.2, 1.1, 0.3], [0.01, 0.0, 0.02]]) + 0.01 * k).round(8),
            "fields": (0.2 * rng.standard_normal((2, 3))).round(8),
            "kbar": (10 * (kbar + kbar.T) + k).round(6),
        }
        for k in range(3)
    ]


class VaspRun:
    """Text of the files of a VASP + DeltaSpin run of a frame; the last two atoms (O) are not constrained."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.n = len(frame)

    def summary(self, *, units: bool = False, drop: str = "", virial: bool = False, energies: int = 1) -> str:
        frame, labels = self.frame, self.frame.labels
        target = frame.moments.round(2)
        target[2:] = 0.0
        sections = {
            "RMS": ("muB", np.array([2.4e-4])),
            "Energy": ("eV", np.full(energies, labels.energy)),
            "Cartesian Coordinates": ("Angstrom", frame.atoms.positions),
            "Magnetization": ("muB", frame.moments),
            "Magnetization Difference from Target": ("muB", frame.moments - target),
            "Atomic Force": ("eV/A", labels.forces),
            "Magnetic Force": ("eV/muB", labels.magnetic_forces),
        }
        if virial:
            sections["Virial"] = ("eV", -frame.atoms.cell.volume * labels.stress[[0, 5, 4, 5, 1, 3, 4, 3, 2]])
        text = "".join(
            f"{title}:{f' ({unit})' if units else ''}\n{' '.join(f'{x:.12E}' for x in np.ravel(values))}\n"
            for title, (unit, values) in sections.items()
            if title != drop
        )
        return f"{text}Time Cost:\n0 DAYS 01:04:39\n"

    def stdout(self, **options: object) -> str:
        field = -self.frame.labels.magnetic_forces
        rows = "\n".join("  ".join(f"{x:.15E}" for x in row) for row in field)
        return (
            f" Inner optimization for lambda ends.\n final optimal lambda: \n{rows}\n    0.101E-01\n"
            f"   1 F= {self.frame.labels.energy:.8E} E0= {self.frame.labels.energy:.8E}  d E =0.0  mag= "
            "0.1 0.2 0.3\n" + self.summary(**options)
        )

    def poscar(self) -> str:
        atoms = self.frame.atoms
        symbols = list(dict.fromkeys(atoms.symbols))
        counts = [str(list(atoms.symbols).count(s)) for s in symbols]
        cell = "\n".join("  ".join(f"{x:.12f}" for x in v) for v in atoms.cell.array)
        rows = "\n".join("  ".join(f"{x:.8f}" for x in v) for v in atoms.positions)
        return f"made up\n1.0\n{cell}\n{' '.join(symbols)}\n{' '.join(counts)}\nCartesian\n{rows}\n"

    def incar(self) -> str:
        target = self.frame.moments.round(2)
        target[2:] = 0.0
        rows = " \\\n   ".join(" ".join(f"{x:.2f}" for x in v) for v in target)
        return (
            f"! made up\nSYSTEM = NiO ; ISPIN = 2  # comment\nLSORBIT = .TRUE.\nM_CONSTR = {rows}\n"
            "CONSTRL = 6*1 6*0   ! only Ni\n"
        )

    def write(self, directory: Path, **options: object) -> Path:
        directory.mkdir(exist_ok=True)
        (directory / "POSCAR").write_text(self.poscar())
        (directory / "INCAR").write_text(self.incar())
        output = directory / "stdout.log"
        output.write_text(self.stdout(**options))
        return output


@pytest.fixture
def vasp(make_frames: MakeFrames) -> VaspRun:
    """Writer of VASP files, for one frame of NiO (4 atoms)."""
    return VaspRun(make_frames(1)[0])


class ToyMagnet(MagneticCalculator):
    """Atoms on springs, isotropic exchange between all pairs, a double well in |m|: exact derivatives.

    E = k/2 Σ |R - R0|² - J/2 Σ_{i≠j} m_i·m_j + a Σ (|m|² - m0²)²
    """

    def __init__(self, reference: np.ndarray, *, anisotropy: float = 0.0) -> None:
        super().__init__()
        self.reference = reference
        self.anisotropy = anisotropy

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        k, exchange, a, m0 = 4.0, 0.02, 0.05, 1.3
        shift = self.atoms.positions - self.reference
        m = get_moments(self.atoms)
        others = m.sum(axis=0) - m
        square = (m**2).sum(axis=1, keepdims=True)
        energy = k / 2 * (shift**2).sum() - exchange / 2 * (m * others).sum() + a * ((square - m0**2) ** 2).sum()
        energy -= self.anisotropy * (m[:, 2] ** 2).sum()
        field = exchange * others - 4 * a * (square - m0**2) * m
        field[:, 2] += 2 * self.anisotropy * m[:, 2]
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": -k * shift,
            "stress": np.zeros(6),
            "magmoms": self.atoms.get_initial_magnetic_moments(),
            "magnetic_forces": field,
            "magnetic_torques": np.cross(m, field),
        }


@pytest.fixture
def toy(fcc_fe: Atoms) -> Callable[..., Atoms]:
    """``toy()``: four Fe atoms with random moments and a :class:`ToyMagnet`."""

    def make(*, anisotropy: float = 0.0, seed: int = 0) -> Atoms:
        atoms = fcc_fe.copy()
        set_moments(atoms, np.random.default_rng(seed).standard_normal((4, 3)))
        atoms.calc = ToyMagnet(atoms.positions.copy(), anisotropy=anisotropy)
        return atoms

    return make
