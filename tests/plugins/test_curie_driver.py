"""The whole way to an ordering temperature: restart, interruption, executors, results on disk, the command, errors."""

from __future__ import annotations

import json
import re
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import typer
from ase import Atoms
from ase.build import bulk
from ase.io import write
from typer.testing import CliRunner, Result

import deepspin_ase
from deepspin_ase import set_moments
from deepspin_ase.errors import DeepSpinError, InputError
from deepspin_ase.heisenberg import Heisenberg, HeisenbergModel, uniaxial
from deepspin_ase.plugin import Plugin
from deepspin_plugins.curie import (
    CurieResult,
    MonteCarlo,
    direct_ordering_temperature,
    driver,
    find_order,
    ordering_temperature,
)
from deepspin_plugins.curie.plugin import plugin
from deepspin_plugins.curie.study import Study
from deepspin_plugins.exchange import exchange_tensors

CUBIC = Atoms("Fe", cell=[3, 3, 3], pbc=True)
MODEL = HeisenbergModel.from_shells(CUBIC, [0.01], magnitudes=2.0)
DIMER = HeisenbergModel.from_bonds(Atoms("Fe2", [(0, 0, 0), (2, 0, 0)]), [(0, 1, (0, 0, 0), 0.1)], magnitudes=1.0)
SMALL = {"sizes": (4, 6, 8), "sweeps": 500, "accuracy": 0.02, "threads": 1, "seed": 5}


@pytest.fixture(scope="module")
def result() -> CurieResult:
    return ordering_temperature(MODEL, **SMALL)


def same(a: CurieResult, b: CurieResult) -> None:
    for field in fields(CurieResult):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name), err_msg=field.name)


class TestResult:
    def test_is_right_within_its_error(self, result: CurieResult) -> None:
        assert result.complete
        assert abs(result.tc - 167.44) < 4 * result.tc_error < 12.0
        assert result.mean_field == pytest.approx(232.09, abs=0.01)
        assert result.rpa == pytest.approx(153.05, abs=0.2)

    def test_has_curves_of_all_sizes_over_the_whole_range(self, result: CurieResult) -> None:
        assert np.unique(result.size).tolist() == [4, 6, 8]
        assert result.sites[result.rows(6)].tolist() == [216] * 9
        smallest = result.rows(4)
        assert result.temperature[smallest].min() < 15
        assert result.temperature[smallest].max() > 240
        order, error = result.order_parameter[:, smallest]
        assert order[0] > 0.95
        assert order[-1] < 0.35
        assert np.all(error > 0)
        cold = np.flatnonzero(smallest)[0]
        # two transverse modes per moment, ½ k_B each, in harmonic order: C -> k_B (less than none for the uniform turn)
        assert abs(result.heat_capacity[0, cold] - 1) < 4 * result.heat_capacity[1, cold] + 0.03

    def test_says_what_was_checked(self, result: CurieResult) -> None:
        text = result.summary()
        assert "T_c = " in text
        assert "±" in text
        assert "checked: cumulants of sizes 4, 6, 8 cross" in text
        assert "without the smallest one" in text
        assert "NOT checked: quantum statistics" in text

    def test_quantum_factor_is_apart(self, result: CurieResult) -> None:
        assert result.spin_corrected(1.0) == pytest.approx((2 * result.tc, 2 * result.tc_error))
        with pytest.raises(InputError, match="positive"):
            result.spin_corrected(0.0)

    def test_on_disk_it_is_the_same(self, result: CurieResult, tmp_path: Path) -> None:
        result.save(tmp_path / "r")
        same(CurieResult.load(tmp_path / "r"), result)
        result.to_json(tmp_path / "r.json")
        read = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
        assert read["tc"] == result.tc
        assert read["binder"][0] == result.binder[0].tolist()
        replace(result, tc=float("nan")).to_json(tmp_path / "r.json")
        assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["tc"] is None

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"text"])
    def test_foreign_files_are_refused(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "r").write_bytes(content)
        with pytest.raises(InputError, match="damaged or no file"):
            CurieResult.load(tmp_path / "r")

    def test_arrays_are_read_only(self, result: CurieResult) -> None:
        arrays = [getattr(result, field.name) for field in fields(CurieResult)]
        assert not any(array.flags.writeable for array in arrays if isinstance(array, np.ndarray))

    def test_pictures(self, result: CurieResult, tmp_path: Path) -> None:
        axes = result.plot(quantity="susceptibility")
        assert "(K)" in axes.get_xlabel()
        assert "µB/T" in axes.get_ylabel()
        result.figure().savefig(tmp_path / "c.png")
        assert (tmp_path / "c.png").stat().st_size > 20_000
        with pytest.raises(InputError, match="heat_capacity"):
            result.plot(quantity="energy gap")


class TestStudy:
    """Samplers of several sizes: the same numbers however they were run."""

    grid = np.array([160.0, 170.0])

    def study(self, **options: object) -> Study:
        def make(size: int, kelvin: np.ndarray, seed: int) -> MonteCarlo:
            return MonteCarlo(MODEL, (size,) * 3, kelvin, seed=seed, threads=1)

        return Study(make, seed=1, **options)

    def test_more_sweeps_continue(self) -> None:
        once = self.study().measure("a", [2, 3], self.grid, 40, warm=10)
        study = self.study()
        study.measure("a", [2, 3], self.grid, 15, warm=10)
        twice = study.measure("a", [2, 3], self.grid, 40)
        assert [run.series.energy.shape for run in once] == [(2, 40), (2, 40)]
        for a, b in zip(once, twice, strict=True):
            np.testing.assert_array_equal(a.series.energy, b.series.energy)

    def test_sizes_and_stages_have_seeds_of_their_own(self) -> None:
        study = self.study()
        (a,), (b,) = (study.measure(stage, [2], self.grid, 20) for stage in ("a", "b"))
        assert np.abs(a.series.energy - b.series.energy).min() > 0

    @pytest.mark.parametrize("pool", [ThreadPoolExecutor, ProcessPoolExecutor])
    def test_executors_change_nothing(self, pool: type) -> None:
        plain = self.study().measure("a", [2, 3], self.grid, 30, warm=5)
        with pool(1) as executor:
            spread = self.study(executor=executor).measure("a", [2, 3], self.grid, 30, warm=5)
        for a, b in zip(plain, spread, strict=True):
            np.testing.assert_array_equal(a.series.order, b.series.order)

    def test_interrupted_study_goes_on_from_its_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = self.study().measure("a", [2, 3], self.grid, 60, warm=10)
        calls = []
        run = MonteCarlo.run

        def interrupted(self: MonteCarlo, sweeps: int) -> object:
            calls.append(sweeps)
            if len(calls) == 20:
                raise KeyboardInterrupt
            return run(self, sweeps)

        study = self.study(checkpoint=tmp_path / "c")
        with monkeypatch.context() as patch:
            patch.setattr(MonteCarlo, "run", interrupted)
            with pytest.raises(KeyboardInterrupt):
                study.measure("a", [2, 3], self.grid, 60, warm=10)
        assert 0 < len(study.runs("a")[0].series) < 60
        again = self.study(checkpoint=tmp_path / "c").measure("a", [2, 3], self.grid, 60, warm=10)
        for a, b in zip(whole, again, strict=True):
            np.testing.assert_array_equal(a.series.energy, b.series.energy)

    def test_folder_of_another_study_is_refused(self, tmp_path: Path) -> None:
        self.study(checkpoint=tmp_path).measure("a", [2], self.grid, 10)
        with pytest.raises(InputError):
            self.study(checkpoint=tmp_path).measure("a", [2], self.grid + 1, 10)


class TestDriver:
    def test_ctrl_c_in_the_last_stage_gives_what_there_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options = SMALL | {"accuracy": 1e-5}
        measure = Study.measure

        def interrupted(self: Study, stage: str, sizes: object, kelvin: object, sweeps: int, **rest: int) -> object:
            found = measure(self, stage, sizes, kelvin, sweeps, **rest)
            if stage.startswith("window") and sweeps == 500:
                raise KeyboardInterrupt
            return found

        with monkeypatch.context() as patch:
            patch.setattr(Study, "measure", interrupted)
            early = ordering_temperature(MODEL, **options, checkpoint=tmp_path / "c")
        assert not early.complete
        assert "INCOMPLETE" in early.summary()
        assert abs(early.tc - 167.4) < 4 * early.tc_error
        same(ordering_temperature(MODEL, **options, checkpoint=tmp_path / "c"), early)

    def test_ctrl_c_before_is_raised(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(*args: object, **options: object) -> object:
            raise KeyboardInterrupt

        monkeypatch.setattr(Study, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ordering_temperature(MODEL, **SMALL)

    def test_accuracy_that_is_not_reached_is_said(self) -> None:
        found = ordering_temperature(MODEL, **(SMALL | {"accuracy": 1e-6, "sizes": (2, 4)}))
        assert not found.complete
        assert "accuracy was not reached" in found.summary()

    def test_without_a_crossing_the_curves_remain(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two sizes far above T_c, where the susceptibility of the scan has its largest value at the wrong end."""
        monkeypatch.setattr(driver, "_PILOT_SHIFTS", 0)
        found = ordering_temperature(MODEL, **SMALL, temperatures=[300.0, 330.0, 360.0])
        assert np.isnan(found.tc)
        assert not found.complete
        assert found.summary().startswith("no transition found")
        assert np.all(found.order_parameter[0] < 0.4)
        assert {300.0, 360.0} <= set(found.temperature)

    @pytest.mark.slow
    def test_two_transitions_of_two_uncoupled_sublattices(self) -> None:
        cell = Atoms("FeGd", cell=np.eye(3) * 4, scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], pbc=True)
        bonds = [(k, k, image, j) for k, j in ((0, 0.010), (1, 0.003)) for image in np.eye(3, dtype=int)]
        found = ordering_temperature(
            HeisenbergModel.from_bonds(cell, bonds, magnitudes=[2.0, 7.0]),
            **(SMALL | {"sweeps": 3000, "sizes": (6, 8)}),
        )
        assert found.tc == pytest.approx(167.4, abs=5)
        assert len(found.transitions) == 2
        assert found.transitions[1] == pytest.approx(0.3 * 167.4, abs=2.5 * found.transition_errors[1])
        assert "further transition near" in found.summary()

    def test_layer_with_anisotropy_orders(self) -> None:
        layer = Atoms("Cr", cell=[3, 3, 12], pbc=True)
        bonds = [(0, 0, image, 0.01) for image in np.eye(3, dtype=int)[:2]]
        model = HeisenbergModel.from_bonds(layer, bonds, magnitudes=3.0, anisotropy=uniaxial(0.01))
        found = ordering_temperature(model, sizes=(6, 10, 16), sweeps=1000, accuracy=0.03, threads=1)
        assert 0.4 * found.mean_field < found.tc < 0.9 * found.mean_field or np.isnan(found.mean_field)
        assert "free in the fit" in found.summary()

    @pytest.mark.parametrize(
        ("model", "options", "message"),
        [
            (replace(MODEL, field=np.array([0, 0, 1.0])), {}, "no sharp transition"),
            (MODEL.on(Atoms("Fe", cell=[3, 3, 3], pbc=[True, True, False])), {}, "Mermin"),
            (DIMER, {}, "cluster"),
            (MODEL, {"sizes": (8,)}, "at least two"),
            (MODEL, {"accuracy": 0.0}, "accuracy"),
            (MODEL, {"sweeps": 10}, "at least 500"),
            (MODEL, {"seed": -1}, "seed = -1"),
            (MODEL, {"temperatures": [100.0, np.nan]}, "NaN|finite"),
            (MODEL, {"sampler": "glauber"}, "heat-bath"),
        ],
    )
    def test_what_cannot_work_is_refused(self, model: HeisenbergModel, options: dict, message: str) -> None:
        with pytest.raises(InputError, match=message):
            ordering_temperature(model, **options)


class TestDirect:
    def structures(self) -> list[Atoms]:
        atoms = CUBIC.copy()
        set_moments(atoms, 2.0)
        cells = [atoms.repeat(n) for n in (2, 3)]
        cells[0].calc = Heisenberg(MODEL)
        return cells

    @pytest.mark.slow
    def test_direct_sampling_of_a_spin_model_finds_its_transition(self) -> None:
        grid = [145.0, 165.0, 185.0]
        found = direct_ordering_temperature(self.structures(), grid, sweeps=600, equilibration=50, model=MODEL)
        assert found.tc == pytest.approx(167.4, rel=0.1)
        assert found.mean_field == pytest.approx(232.1, abs=0.1)
        assert "direct sampling" in found.summary()
        assert np.unique(found.size).tolist() == pytest.approx([2, 3])

    def test_wrong_structures_are_refused(self) -> None:
        cells = self.structures()
        with pytest.raises(InputError, match="at least two sizes"):
            direct_ordering_temperature(cells[:1], [100.0, 110.0])
        with pytest.raises(InputError, match="different sizes"):
            direct_ordering_temperature([cells[0], cells[0]], [100.0, 110.0])


class TestCommand:
    def run(self, *arguments: object) -> Result:
        app = typer.Typer()
        app.command()(plugin.command)
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    def test_plugin_signs_the_contract(self) -> None:
        assert isinstance(plugin, Plugin)
        assert plugin.name == "curie"

    def test_from_a_spin_model_file(self, tmp_path: Path) -> None:
        MODEL.save(tmp_path / "m.npz")
        options = ("--sizes", "4,6,8", "--sweeps", 500, "--accuracy", 0.05, "--spin", 1.0, "--output", tmp_path / "o")
        done = self.run("--exchange", tmp_path / "m.npz", *options)
        assert done.exit_code == 0, done.output
        assert "T_c = " in done.stdout
        assert "times (S+1)/S" in done.stdout
        names = {"result.npz", "result.json", "curves.csv", "curie.png", "model.npz", "restart"}
        assert {path.name for path in (tmp_path / "o").iterdir()} == names
        table = np.loadtxt(tmp_path / "o/curves.csv", delimiter=",", skiprows=1)
        header = (tmp_path / "o/curves.csv").read_text(encoding="utf-8").splitlines()[0]
        assert header.startswith("L,magnetic sites,temperature (K),order parameter,error of order parameter")
        found = CurieResult.load(tmp_path / "o/result.npz")
        np.testing.assert_allclose(table[:, 3], found.order_parameter[0], rtol=1e-6)
        again = self.run("--exchange", tmp_path / "m.npz", *options)  # restarts from what is there
        assert again.stdout == done.stdout
        kept = (tmp_path / "o/restart/scan-L4.npz").stat().st_mtime_ns
        other = self.run("--exchange", tmp_path / "m.npz", *options, "--seed", 1)  # another run begins anew
        assert other.exit_code == 0, other.output
        assert other.stdout != done.stdout
        assert (tmp_path / "o/restart/scan-L4.npz").stat().st_mtime_ns > kept

    @pytest.mark.parametrize(
        "given",
        [pytest.param((), marks=pytest.mark.slow), ("--temperatures", "140:190:3", "--sizes", "2,3")],
    )
    def test_direct_route(self, given: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With a spin model as the potential; sizes and temperatures are chosen from the exchange unless given."""
        atoms = CUBIC.copy()
        set_moments(atoms, 2.0)
        write(tmp_path / "s.extxyz", atoms)
        monkeypatch.setattr(deepspin_ase, "DeepSpin", lambda model, device: Heisenberg(MODEL))
        options = ("--cutoff", 3.5, "--sweeps", 12, "--output", tmp_path / "o")
        done = self.run(tmp_path / "s.extxyz", "--model", "any", "--direct", *given, *options)
        assert done.exit_code == 0, done.output
        found = CurieResult.load(tmp_path / "o/result.npz")
        assert "direct sampling" in found.method
        assert np.unique(found.sites).tolist() == ([8, 27] if given else [27, 64])
        assert 125 < found.temperature.min() < found.temperature.max() < 210

    def test_from_an_exchange_file_of_a_potential(self, tmp_path: Path) -> None:
        atoms = CUBIC.copy()
        set_moments(atoms, 2.0)
        exchange_tensors(atoms, Heisenberg(MODEL), cutoff=3.5).save(tmp_path / "x.npz")
        options = ("--sizes", "4,8", "--sweeps", 2000, "--accuracy", 0.05, "--output", tmp_path / "o")
        done = self.run("--exchange", tmp_path / "x.npz", *options)
        assert done.exit_code == 0, done.output
        assert CurieResult.load(tmp_path / "o/result.npz").tc == pytest.approx(167.4, abs=8)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((), "either --model"),
            (("--model", "fe"), "needs a structure"),
            (("s.xyz", "--exchange", "x.npz"), "complete spin model"),
            (("s.xyz", "--model", "fe", "--lattice"), "needs --direct"),
            (("--exchange", "none.npz"), "no file"),
            (("none.xyz", "--model", "fe"), "no file"),
        ],
    )
    def test_contradictions_are_explained(self, arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
        done = self.run(*arguments, "--output", tmp_path / "o")
        assert isinstance(done.exception, DeepSpinError)
        assert message in str(done.exception)
        assert not (tmp_path / "o").exists()

    @pytest.mark.parametrize(
        ("option", "value"), [("--sizes", "8,x"), ("--sizes", "4.5,6"), ("--temperatures", "9:3:2")]
    )
    def test_wrong_lists_are_explained(self, option: str, value: str) -> None:
        done = self.run("--exchange", "x.npz", option, value)
        assert done.exit_code == 2
        assert option in done.output

    def test_foreign_file_and_missing_moments(self, tmp_path: Path) -> None:
        (tmp_path / "x.npz").write_bytes(b"nothing")
        foreign = self.run("--exchange", tmp_path / "x.npz", "--output", tmp_path / "o")
        assert "written by neither" in str(foreign.exception)
        bare = bulk("NaCl", "rocksalt", a=5.6)
        write(tmp_path / "bare.xyz", bare)
        done = self.run(tmp_path / "bare.xyz", "--model", "nio", "--output", tmp_path / "o")
        assert "carries no moments" in str(done.exception)


def test_order_is_exported_where_the_docs_say() -> None:
    from deepspin_plugins import curie

    assert curie.find_order is find_order
    assert set(curie.__all__) <= set(dir(curie))


def test_documented_code_runs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (repository / "docs" / "curie.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 2
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert {path.name for path in tmp_path.iterdir()} >= {"curie.png", "curie.npz", "curie.json"}
