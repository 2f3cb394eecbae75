"""Validation of the iron model: direct points are what they say, and the report finds what a spin model has."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from scipy.optimize import minimize_scalar

from deepspin_ase import Heisenberg, get_moments, set_moments, spiral
from deepspin_ase.data import Frame, read_frames
from deepspin_ase.heisenberg import Exponential, Landau, Morse
from deepspin_ase.labeling import CalculatorLabeler
from deepspin_ase.labeling.state import calculation_name
from deepspin_ase.quantities import K_B

A, MOMENT = 2.8665, 2.15
MODULES = (
    "make_frames",
    "direct_points",
    "validation_study",
    "validation_energies",
    "validation_excitations",
    "validate",
)
EXCHANGE = Exponential(strength=0.03, r0=2.48, decay=0.7, cutoff=5.5)


@pytest.fixture(scope="module")
def scripts(repository: Path) -> Iterator[SimpleNamespace]:
    """The modules of data/fe_bcc."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(repository / "data" / "fe_bcc")
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def points(scripts: SimpleNamespace) -> dict[str, Atoms]:
    return {atoms.info["point"]: atoms for atoms in scripts.direct_points.direct_points()}


def iron_model(strength: float = 0.03, **options: Any) -> Heisenberg:
    """Exchange J(r), a Morse lattice, and lengths that want to be 2.15 µB."""
    terms = {
        "exchange": Exponential(strength=strength, r0=2.48, decay=0.7, cutoff=5.5),
        "lattice": Morse(depth=0.4174, r0=2.845, stiffness=1.3885, cutoff=6.0),
        "landau": {"Fe": Landau(-2 * 0.02 * MOMENT**2, 0.02)},
    }
    return Heisenberg(**{**terms, **options})


def neighbours() -> tuple[np.ndarray, np.ndarray]:
    """J (eV) and vectors (Å) of all bonds of an atom in bcc iron."""
    vectors = neighbor_list("D", bulk("Fe", a=A), EXCHANGE.cutoff)
    return EXCHANGE(np.linalg.norm(vectors, axis=1)), vectors


def test_names_and_sizes(points: dict[str, Atoms]) -> None:
    assert len(points) == 31  # 7 volumes, 8 lengths, 6 spirals and the ferromagnet of each, 4 cones
    assert {len(atoms) for atoms in points.values()} == {1, 2, 3, 4}
    for name, atoms in points.items():
        a = float(name.split()[1]) if name.startswith("volume") else A
        moment = float(name.split()[1]) if name.startswith("moment") else 2.2
        assert atoms.get_volume() / len(atoms) == pytest.approx(a**3 / 2)
        np.testing.assert_allclose(np.linalg.norm(get_moments(atoms), axis=1), moment)
        assert np.linalg.det(atoms.cell.array) > 0
        i, distance = neighbor_list("id", atoms, 1.05 * a)
        assert np.bincount(i).tolist() == [14] * len(atoms)  # all of them are bcc
        np.testing.assert_allclose(np.sort(distance)[: 8 * len(atoms)], a * np.sqrt(0.75))


@pytest.mark.parametrize(("line", "end"), [("G-H", (0, 0, 1)), ("G-N", (0.5, 0.5, 0))])
@pytest.mark.parametrize(("fraction", "atoms_of_it"), [("1/2", 4), ("2/3", 3), ("1", 2)])
def test_spirals_turn_with_the_wave(
    points: dict[str, Atoms], line: str, end: tuple[float, ...], fraction: str, atoms_of_it: int
) -> None:
    """Across every bond the moments turn by q·r in the xz plane, and across some nearest bond by π times the part."""
    atoms = points[f"spiral {line} {fraction}"]
    assert len(atoms) == atoms_of_it
    angle = np.arctan2(*get_moments(atoms)[:, [0, 2]].T)
    assert np.abs(get_moments(atoms)[:, 1]).max() < 1e-12
    q = 2 * np.pi / A * float(Fraction(fraction)) * np.array(end)
    i, j, vector = neighbor_list("ijD", atoms, 1.05 * A)
    np.testing.assert_allclose(np.exp(1j * (angle[j] - angle[i])), np.exp(1j * vector @ q), atol=1e-9)
    i, j = neighbor_list("ij", atoms, 0.9 * A)
    turns = np.abs(np.angle(np.exp(1j * (angle[j] - angle[i]))))
    assert turns.max() == pytest.approx(np.pi * float(Fraction(fraction)))
    primitive = bulk("Fe", a=A)
    same = spiral(atoms, 2.2, primitive.cell.array @ q / (2 * np.pi), "y", "z", cell=primitive.cell)
    np.testing.assert_allclose(get_moments(atoms), same, atol=1e-9)


def test_cells_are_compact(points: dict[str, Atoms]) -> None:
    for name, atoms in points.items():
        corners = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T @ atoms.cell.array
        shortest = np.sort(np.linalg.norm(corners, axis=1))[1]
        assert atoms.cell.lengths().min() == pytest.approx(shortest), name
        assert np.abs(np.cos(np.deg2rad(atoms.cell.angles()))).max() < 0.5 + 1e-9, name


def test_ferromagnets_have_the_cells_of_the_spirals(points: dict[str, Atoms]) -> None:
    for name in (name for name in points if name.startswith("spiral")):
        twin = points[name.replace("spiral", "ferromagnet")]
        np.testing.assert_array_equal(points[name].cell.array, twin.cell.array)
        np.testing.assert_array_equal(points[name].positions, twin.positions)
        assert np.ptp(get_moments(twin), axis=0).max() == 0.0


def test_none_is_in_the_data_set(scripts: SimpleNamespace, points: dict[str, Atoms]) -> None:
    identity = scripts.make_frames.IronLabeler().identity
    plan = {calculation_name(atoms, identity) for atoms in scripts.make_frames.structures()}
    assert plan.isdisjoint(calculation_name(atoms, identity) for atoms in points.values())


def label(points: dict[str, Atoms], calc: Any) -> list[Frame]:
    frames = []
    for name, atoms in points.items():
        copy = atoms.copy()
        copy.calc = calc
        frames.append(Frame.from_calculation(copy, info={"point": name}))
    return frames


@pytest.fixture(scope="module")
def report(
    scripts: SimpleNamespace, points: dict[str, Atoms], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Rows of the whole report about a spin model, with its own energies as direct points."""
    folder = tmp_path_factory.mktemp("report")
    calc = iron_model()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scripts.validation_study, "SIZES", (3, 4, 6))
        patch.setattr(scripts.validation_study, "SWEEPS", 500)
        patch.setattr(scripts.validation_study, "ACCURACY", 0.1)
        patch.setattr(scripts.validation_excitations, "DIRECT_SIZES", (1, 2))
        patch.setattr(scripts.validation_excitations, "DIRECT_SWEEPS", 60)
        rows = scripts.validate.studied(
            calc, label(points, calc), folder, tuple(scripts.validate.STUDIES), "spin model"
        )
    assert not [row for row in rows if "not possible" in row.remark]
    stored = json.loads((folder / "validation.json").read_text(encoding="utf-8"))
    assert [row["quantity"] for row in stored["rows"]] == [row.quantity for row in rows]
    assert {path.stem for path in folder.glob("*.png")} == set(scripts.validate.STUDIES) - {"errors"}
    return {row.quantity: row for row in rows}


def test_the_model_has_no_error_about_itself(report: dict[str, Any]) -> None:
    for quantity in (
        "energies",
        "energies, common shift removed",
        "magnetic forces along m",
        "magnetic forces across m",
        "stresses",
    ):
        assert report[f"rmse of {quantity}"].value == pytest.approx(0.0, abs=1e-9)
    assert report["scatter between cells"].value == pytest.approx(0.0, abs=1e-9)


def test_spirals_cost_what_the_exchange_says(report: dict[str, Any]) -> None:
    """E(q) - E(0) = ½ Σ_j J_0j (1 - cos q·r) per atom, of the model and in the direct points beside it."""
    exchange, vectors = neighbours()
    for line, end in (("G-H", (0, 0, 1)), ("G-N", (0.5, 0.5, 0))):
        for fraction in ("1/2", "2/3", "1"):
            q = 2 * np.pi / A * float(Fraction(fraction)) * np.array(end)
            expected = 1e3 * 0.5 * float(exchange @ (1 - np.cos(vectors @ q)))
            row = report[f"spiral {fraction} of {line}" + (", AFM" if (line, fraction) == ("G-H", "1") else "")]
            assert row.value == pytest.approx(expected, rel=1e-9)
            assert row.beside == f"{expected:.1f} (direct)"
        for angle in (10, 20):  # at the end of the line, where expected is
            row = report[f"A of a cone of {angle}° at {line[-1]}"]
            assert row.value == pytest.approx(expected, rel=1e-9)
            assert row.beside == f"{expected:.1f} (direct)"


def test_cones_have_the_cell_of_the_spiral_and_their_angle(points: dict[str, Atoms]) -> None:
    for line in ("G-H", "G-N"):
        for angle in (10, 20):
            atoms, flat = points[f"cone {line} {angle}"], points[f"spiral {line} 1"]
            np.testing.assert_array_equal(atoms.positions, flat.positions)
            np.testing.assert_array_equal(atoms.cell.array, flat.cell.array)
            directions = get_moments(atoms) / 2.2
            assert np.rad2deg(np.arccos(directions[0] @ directions[1])) == pytest.approx(2 * angle)


def test_exchange_in_the_convention_of_pajda(report: dict[str, Any]) -> None:
    """13.6057 eV in a rydberg; half of ours, because both orders of a pair count and there is no ½."""
    for shell, count, half in (
        ("1 1 1", 8, np.sqrt(3)),
        ("2 0 0", 6, 2),
        ("2 2 0", 12, np.sqrt(8)),
        ("3 1 1", 24, np.sqrt(11)),
    ):
        expected = float(EXCHANGE(half * A / 2)) / 2 / 13.6057e-3
        assert report[f"J of {count} at ({shell})a/2"].value == pytest.approx(expected, rel=1e-4)
    assert report["J of 8 at (3 3 3)a/2"].value == pytest.approx(0.0, abs=1e-6)
    total = float(neighbours()[0].sum()) / 2 / 13.6057e-3
    assert report["J(0), these shells"].value == pytest.approx(total, rel=1e-4)
    assert report["T_c, exchange, mean field"].value == pytest.approx(float(neighbours()[0].sum()) / 3 / K_B, rel=1e-4)


def test_magnons_have_the_moment_that_the_model_wants(report: dict[str, Any]) -> None:
    """ħω = (2/|m|)[J(0) - J(q)], so D = Σ_j J r²/(3|m|)."""
    exchange, vectors = neighbours()
    assert report["equilibrium |m| at 2.8665 Å"].value == pytest.approx(MOMENT, abs=1e-4)
    assert float(report["equilibrium |m| at 2.8665 Å"].beside.split()[0]) == pytest.approx(MOMENT, abs=5e-3)
    stiffness = 1e3 * float(exchange @ (vectors**2).sum(1)) / (3 * MOMENT)
    assert report["magnon stiffness"].value == pytest.approx(stiffness, rel=1e-3)
    at_h = 2e3 / MOMENT * float(exchange @ (1 - np.cos(2 * np.pi / A * vectors[:, 2])))
    assert report["magnon at H"].value == pytest.approx(at_h, rel=1e-4)


def test_lattice_constant_and_bulk_modulus(report: dict[str, Any]) -> None:
    """The minimum of the energy and its curvature, V d²E/dV², by finite differences."""
    calc = iron_model()

    def energy(volume: float) -> float:
        atoms = bulk("Fe", a=(2 * volume) ** (1 / 3))
        set_moments(atoms, MOMENT)
        return float(calc.get_property("energy", atoms))

    volume = float(minimize_scalar(energy, bounds=(10.0, 13.0), method="bounded", options={"xatol": 1e-6}).x)
    edge, step = (2 * volume) ** (1 / 3), 0.02
    modulus = volume * (energy(volume + step) - 2 * energy(volume) + energy(volume - step)) / step**2
    for what in ("|m| relaxed", "|m| = 2.2 µB", "|m| = 2.2 µB, direct"):
        assert report[f"lattice constant, {what}"].value == pytest.approx(edge, abs=2e-3)
        assert report[f"bulk modulus, {what}"].value == pytest.approx(160.2177 * modulus, rel=0.03)


def test_phonons_and_temperatures_are_there(report: dict[str, Any]) -> None:
    assert report["phonon at H"].value > 1.0
    assert report["lowest phonon on the path"].value > -1e-3
    found = report["T_c, exchange, Monte Carlo"]
    assert 0.5 < found.value / report["T_c, exchange, mean field"].value < 1.0
    assert found.error < 0.2 * found.value
    assert "T_c, direct" in report


def test_an_impossible_ferromagnet_is_a_result(scripts: SimpleNamespace, tmp_path: Path) -> None:
    """Antiferromagnetic exchange: no magnons about the ferromagnet; lengths that grow without end: no |m|."""
    names = ("errors", "volume", "moment", "spirals", "exchange", "magnons")
    rows = scripts.validate.studied(iron_model(-0.03), [], tmp_path / "a", names, "")
    found = {row.quantity: row for row in rows}
    assert "not a minimum" in found["magnons"].remark
    assert found["spiral 1 of G-H, AFM"].value < 0
    assert found["J of 8 at (1 1 1)a/2"].value < 0
    runaway = iron_model(landau={"Fe": Landau(-0.4, 0.01)})
    rows = scripts.validate.studied(runaway, [], tmp_path / "b", names, "")
    stored = json.loads((tmp_path / "b" / "validation.json").read_text(encoding="utf-8"))["rows"]
    for quantity in ("lattice constant, |m| relaxed", "equilibrium |m| at 2.8665 Å", "exchange", "magnons"):
        assert next(row for row in stored if row["quantity"] == quantity)["value"] is None
        assert "no equilibrium |m|" in next(row.remark for row in rows if row.quantity == quantity)


def test_commands(
    scripts: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """run, collect, report, with the spin model in place of ABINIT and of the network."""
    script = scripts.validate
    monkeypatch.setattr(script, "IronLabeler", lambda: CalculatorLabeler(iron_model(), "spin model"))
    monkeypatch.setattr(script, "DIRECT", tmp_path / "direct.extxyz")
    monkeypatch.setattr(script, "DeepSpin", lambda model: iron_model())
    monkeypatch.setattr(script, "STUDIES", {name: script.STUDIES[name] for name in ("errors", "spirals", "direct")})
    script.main(["run", str(tmp_path / "runs")])
    script.main(["collect", str(tmp_path / "runs")])
    text = capsys.readouterr().out
    assert "31 labelled" in text
    assert "31 of 31 points" in text
    assert {frame.info["point"] for frame in read_frames(tmp_path / "direct.extxyz")} >= {
        "volume 2.70",
        "spiral G-N 2/3",
    }
    script.main(["report", "some-model", str(tmp_path / "report"), "--no-direct"])
    text = capsys.readouterr().out
    assert "31 direct points" in text
    assert "T_c" not in text
    assert json.loads((tmp_path / "report" / "validation.json").read_text(encoding="utf-8"))["model"] == "some-model"
    for wrong in ([], ["run"], ["report", "a", "b", "c"], ["collect"], ["plan"]):
        with pytest.raises(SystemExit, match=r"validate\.py report"):
            script.main(wrong)
