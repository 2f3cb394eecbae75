"""``deepspin spin-dynamics``: files, restart, interruption, errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from matplotlib.figure import Figure
from PIL import Image
from typer.testing import CliRunner, Result

from deepspin_ase import HeisenbergModel, get_moments, read_results, set_moments
from deepspin_ase.cli import app
from deepspin_ase.errors import InputError
from deepspin_plugins.spin_dynamics import simulation
from deepspin_plugins.spin_dynamics.config import TEMPLATE, Settings, read_values
from deepspin_plugins.spin_dynamics.log import read_log
from deepspin_plugins.spin_dynamics.trajectory import MomentTrajectory

FILES = {
    "settings.yaml",
    "log.txt",
    "moments.h5",
    "checkpoint.npz",
    "initial.extxyz",
    "final.extxyz",
    "history.png",
    "moments.png",
}


@pytest.fixture
def crystal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a structure and a spin model, as the working directory."""
    iron = bulk("Fe", a=2.8665)
    set_moments(iron, 2.2)
    HeisenbergModel.from_shells(iron, [0.03]).save(tmp_path / "fe.npz")
    supercell = iron.repeat(3)
    set_moments(supercell, 2.2)
    write(tmp_path / "fe.extxyz", supercell)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["spin-dynamics", *map(str, arguments)], prog_name="deepspin")


@pytest.fixture(autouse=True)
def quick_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty pictures, except where they are looked at."""
    if "pictures" not in request.node.name:
        monkeypatch.setattr(simulation, "plot_history", lambda series, title: Figure((1, 1)))
        monkeypatch.setattr(simulation, "plot_moments", lambda atoms, title: Figure((1, 1)).subplots())


BASE = ("fe.extxyz", "--spin-model", "fe.npz", "--temperature", 200, "--timestep", 0.5, "--seed", 3)


def test_a_run_leaves_all_files_and_prints_means_with_errors(crystal: Path) -> None:
    done = run(*BASE, "--steps", 60, "--interval", 5, "--output", "out")
    assert done.exit_code == 0, done.output
    assert {path.name for path in (crystal / "out").iterdir()} == FILES
    assert "T_spin" in done.stdout
    assert "±" in done.stdout
    assert "time step 0.5 fs" in done.stderr
    log = read_log(crystal / "out" / "log.txt")
    np.testing.assert_allclose(log.times, 0.5 * 5 * np.arange(13))
    np.testing.assert_allclose(log["length"], 2.2, rtol=1e-6)
    with MomentTrajectory(crystal / "out" / "moments.h5") as trajectory:
        assert trajectory.steps.tolist() == list(range(0, 61, 5))
        np.testing.assert_allclose(trajectory.energies / 27, log["E_potential"], atol=1e-8)
        last = trajectory[-1]
    final = read(crystal / "out" / "final.extxyz")
    np.testing.assert_allclose(get_moments(final), get_moments(last), atol=1e-5)
    (results,) = read_results(crystal / "out" / "final.extxyz")
    assert results.calc.results["magnetic_forces"].shape == (27, 3)


def test_pictures_show_something(crystal: Path) -> None:
    assert run(*BASE, "--steps", 20, "--output", "out").exit_code == 0
    for name in ("history.png", "moments.png"):
        pixels = np.asarray(Image.open(crystal / "out" / name).convert("RGB")).reshape(-1, 3)
        assert len(pixels) > 300_000
        assert len(np.unique(pixels, axis=0)) > 100


def test_spin_lattice_run_with_a_shipped_model(crystal: Path, nio: Atoms) -> None:
    write("nio.extxyz", nio)
    done = run("nio.extxyz", "--model", "nio", "--lattice", "--temperature", 300, "--steps", 4, "--interval", 2)
    assert done.exit_code == 0, done.output
    log = read_log("spin_dynamics/log.txt")
    assert np.all(log["T_lattice"] > 0)
    np.testing.assert_allclose(log["E_total"], log["E_potential"] + log["E_kinetic"], atol=2e-9)
    with MomentTrajectory("spin_dynamics/moments.h5") as trajectory:
        assert np.abs(trajectory[-1].positions - nio.positions).max() > 1e-4


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (("--pressure", 2.0), "SpinLatticeDynamics"),
        (("--moment-mass", 10.0, "--pressure", 2.0), "CartesianMomentDynamics"),
    ],
)
def test_constant_pressure_and_moments_with_inertia(
    crystal: Path, nio: Atoms, options: tuple[object, ...], kind: str
) -> None:
    """Volume, and with inertia the lengths, change; the run goes on from its checkpoint as the same driver."""
    write("nio.extxyz", nio)
    common = ("--lattice", "--temperature", 50, "--interval", 5, "--output", "out")
    assert run("nio.extxyz", "--model", "nio", "--steps", 20, *common, *options).exit_code == 0
    final = read("out/final.extxyz")
    assert abs(final.get_volume() / nio.get_volume() - 1.0) > 1e-6
    lengths = np.linalg.norm(get_moments(final), axis=1)[final.numbers == 28]
    assert (np.ptp(lengths) > 1e-4) == (kind == "CartesianMomentDynamics")
    assert run("--resume", "--output", "out", "--steps", 25).exit_code == 0
    assert len(read_log(crystal / "out" / "log.txt")) == 6


def test_rescaled_statistics_cool_the_classical_bath(crystal: Path) -> None:
    """T' = T_c (T/T_c)^η: a run at 100 K equals the classical one at that temperature."""
    same = {"structure": "fe.extxyz", "spin_model": "fe.npz", "steps": 20, "seed": 3, "timestep": 1.0}
    rescaled = {"kind": "rescaled", "curie_temperature": 1000.0, "exponent": 2.0}
    for name, options in (("q", {"temperature": 100.0, "statistics": rescaled}), ("c", {"temperature": 10.0})):
        (crystal / f"{name}.yaml").write_text(yaml.safe_dump(same | options))
        assert run("--config", f"{name}.yaml", "--output", name).exit_code == 0
    np.testing.assert_allclose(get_moments(read("q/final.extxyz")), get_moments(read("c/final.extxyz")), atol=1e-7)


def test_without_temperature_energy_is_conserved_and_its_drift_printed(crystal: Path) -> None:
    iron = read("fe.extxyz")
    moments = get_moments(iron)
    moments[0] = [2.2, 0, 0]
    set_moments(iron, moments)
    write("fe.extxyz", iron)
    done = run("fe.extxyz", "--spin-model", "fe.npz", "--steps", 200, "--integrator", "implicit-midpoint")
    assert done.exit_code == 0, done.output
    assert "energy drift" in done.stdout
    assert np.ptp(read_log("spin_dynamics/log.txt")["E_total"]) < 1e-5


def test_field_option_turns_moments_about_it(crystal: Path) -> None:
    iron = read("fe.extxyz")
    set_moments(iron, np.tile([2.2, 0, 0], (27, 1)))
    write("x.extxyz", iron)
    done = run("x.extxyz", "--spin-model", "fe.npz", "--steps", 100, "--timestep", 1, "--field", "0,0,100")
    assert done.exit_code == 0, done.output
    log = read_log("spin_dynamics/log.txt")
    angle = 1.76085963e11 * 100.0 * 100e-15
    np.testing.assert_allclose(
        [log["Mx"][-1], log["My"][-1]], 2.2 * np.array([np.cos(angle), np.sin(angle)]), atol=1e-5
    )


def test_resume_makes_the_run_longer_and_equals_one_long_run(crystal: Path) -> None:
    assert run(*BASE, "--steps", 40, "--output", "a").exit_code == 0
    longer = run("--resume", "--output", "a", "--steps", 90)
    assert longer.exit_code == 0, longer.output
    assert run(*BASE, "--steps", 90, "--output", "b").exit_code == 0
    assert (crystal / "a" / "log.txt").read_text() == (crystal / "b" / "log.txt").read_text()
    with MomentTrajectory(crystal / "a/moments.h5") as a, MomentTrajectory(crystal / "b/moments.h5") as b:
        np.testing.assert_array_equal(a.steps, b.steps)
        np.testing.assert_array_equal(a.moments[()], b.moments[()])


@pytest.mark.slow
def test_killed_run_resumes_to_the_same_files(crystal: Path) -> None:
    """SIGKILL in the middle; --resume from the last checkpoint gives what an undisturbed run gives."""
    settings = crystal / "run.yaml"
    settings.write_text("checkpoint_interval: 50\ninterval: 7\n")
    options = [*map(str, BASE), "--steps", "10000000", "--config", str(settings), "--output", "a"]
    command = [sys.executable, "-m", "deepspin_ase.cli", "spin-dynamics", *options]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = crystal / "a" / "log.txt"
    while not ((crystal / "a/checkpoint.npz").exists() and _lines(log) > 60):
        assert child.poll() is None, child.communicate()[1]
        time.sleep(0.05)
    child.kill()
    child.communicate()
    before = int(log.read_text().splitlines()[-2].split()[0])
    steps = before + 120
    done = run("--resume", "--output", "a", "--steps", steps)
    assert done.exit_code == 0, done.output
    assert run(*BASE, "--steps", steps, "--config", settings, "--output", "b").exit_code == 0
    assert log.read_text() == (crystal / "b" / "log.txt").read_text()
    with MomentTrajectory(crystal / "a/moments.h5") as a, MomentTrajectory(crystal / "b/moments.h5") as b:
        np.testing.assert_array_equal(a.steps, b.steps)
        np.testing.assert_array_equal(a.moments[()], b.moments[()])


def test_replicas_have_folders_of_their_own_and_equal_single_runs(crystal: Path) -> None:
    done = run(*BASE, "--steps", 20, "--replicas", 3, "--output", "all")
    assert done.exit_code == 0, done.output
    assert "3 replicas" in done.stdout
    assert {path.name for path in (crystal / "all").iterdir()} == {"settings.yaml", *(f"replica_{k}" for k in range(3))}
    longer = run("--resume", "--output", "all", "--steps", 40)
    assert longer.exit_code == 0, longer.output
    assert run(*BASE[:-1], 4, "--steps", 40, "--output", "one").exit_code == 0  # seeds 3, 4, 5
    logs = [read_log(f"all/replica_{k}/log.txt") for k in range(3)]
    np.testing.assert_allclose(logs[1]["Mx"], read_log("one/log.txt")["Mx"], atol=2e-6)
    assert np.abs(logs[0]["Mx"] - logs[1]["Mx"]).max() > 1e-3


def test_replicas_of_a_network_share_batches(crystal: Path, nio: Atoms) -> None:
    write("nio.extxyz", nio)
    options = ("nio.extxyz", "--model", "nio", "--temperature", 300, "--timestep", 0.2, "--field", "0,0,5")
    assert run(*options, "--steps", 4, "--interval", 2, "--replicas", 2, "--output", "all").exit_code == 0
    assert run(*options, "--steps", 4, "--interval", 2, "--seed", 1, "--output", "one").exit_code == 0
    both = [read_log(name)["Mx"] for name in ("all/replica_1/log.txt", "one/log.txt")]
    np.testing.assert_allclose(*both, atol=2e-6)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_the_end_of_a_batch_job_keep_everything(crystal: Path, number: int) -> None:
    log = crystal / "out" / "log.txt"

    def interrupt() -> None:
        while _lines(log) < 20:
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    handler = signal.getsignal(number)
    thread = threading.Thread(target=interrupt)
    thread.start()
    done = run(*BASE, "--steps", 10_000_000, "--output", "out")
    thread.join()
    assert done.exit_code == 130, done.output
    assert signal.getsignal(number) is handler
    assert {path.name for path in (crystal / "out").iterdir()} == FILES
    with MomentTrajectory(crystal / "out/moments.h5") as trajectory:
        assert trajectory.steps.tolist() == read_log(log)["step"].tolist()
    assert run("--resume", "--output", "out", "--steps", 10).exit_code == 2  # it has more already


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_written_settings_file_is_valid_and_runs(crystal: Path) -> None:
    assert run("--init", "--config", "new.yaml").exit_code == 0
    values = yaml.safe_load(Path("new.yaml").read_text())
    Settings.from_values(values, "new.yaml")
    every = yaml.safe_load("\n".join(line.removeprefix("# ") for line in TEMPLATE.splitlines()[3:]))
    assert set(every) == set(Settings.model_fields)  # each option is shown
    assert run("--init", "--config", "new.yaml").exit_code == 2  # is not overwritten
    done = run("fe.extxyz", "--spin-model", "fe.npz", "--config", "new.yaml", "--steps", 2)  # options win
    assert done.exit_code == 0, done.output


def test_paths_in_a_settings_file_are_relative_to_it(crystal: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "run.yaml").write_text("structure: s.extxyz\nspin_model: m.npz\nsteps: 3\n")
    values = read_values(folder / "run.yaml")
    assert values["structure"] == str(folder / "s.extxyz")
    assert values["spin_model"] == str(folder / "m.npz")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fe.extxyz", "--spin-model", "fe.npz"), "steps: required"),
        (("fe.extxyz", "--steps", 5), "either model"),
        (("fe.extxyz", "--steps", 5, "--model", "nio", "--spin-model", "fe.npz"), "either model"),
        (("none.extxyz", "--steps", 5, "--spin-model", "fe.npz"), "/none.extxyz"),
        (("fe.npz", "--steps", 5, "--spin-model", "fe.npz"), "ASE cannot read"),
        (("fe.extxyz", "--steps", 5, "--spin-model", "fe.extxyz"), "is no spin model"),
        (("fe.extxyz", "--steps", 5, "--spin-model", "fe.npz", "--temperature", -3), "temperature"),
        (("fe.extxyz", "--steps", 5, "--spin-model", "fe.npz", "--friction", 0.1), "atoms that move"),
        (("fe.extxyz", "--steps", 5, "--spin-model", "fe.npz", "--damping", "Xx=1"), "Xx"),
        (("fe.extxyz", "--steps", 5, "--spin-model", "fe.npz", "--damping", "-1"), "not negative"),
        (("fe.extxyz", "--steps", 5, "--spin-model", "fe.npz", "--integrator", "rk4"), "depondt-mertens"),
        (("fe.extxyz", "--steps", 5, "--spin-model", "fe.npz", "--repeat", "0,1,1"), "repeat"),
        (("fe.extxyz", "--steps", 5, "--spin-model", "fe.npz", "--field", "1,2"), "three numbers"),
        (("fe.extxyz", "--steps", 5, "--spin-model", "fe.npz", "--moments", "Co=1"), "no entry for Fe"),
        (("fe.extxyz", "--steps", 5, "--spin-model", "fe.npz", "--moments", "Fe=0"), "no moments"),
        (("--resume", "--output", "nothing"), "no run in nothing"),
        (("--resume", "--output", "nothing", "--seed", 1), "leave out seed"),
    ],
)
def test_errors_are_one_message_and_exit_code_two(crystal: Path, arguments: tuple[object, ...], message: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_with_a_run_is_not_overwritten_unasked(crystal: Path) -> None:
    assert run(*BASE, "--steps", 10).exit_code == 0
    again = run(*BASE, "--steps", 10)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert run(*BASE, "--steps", 20, "--overwrite").exit_code == 0
    assert len(read_log("spin_dynamics/log.txt")) == 3


def test_unknown_option_in_a_file_gets_a_hint(crystal: Path) -> None:
    Path("bad.yaml").write_text("structure: fe.extxyz\nmodel: nio\nsteps: 3\ntemprature: 300\n")
    with pytest.raises(InputError, match="did you mean 'temperature'"):
        Settings.from_values(read_values(Path("bad.yaml")), "bad.yaml")
    Path("bad.yaml").write_text("just text")
    assert run("--config", "bad.yaml").exit_code == 2


@pytest.mark.parametrize(
    "field",
    [
        {"kind": "rotating", "amplitude": 2.0, "frequency": 1.0},
        {"kind": "pulse", "amplitude": [0, 0, 5], "center": 10, "width": 5},
    ],
)
def test_fields_that_change_with_time(crystal: Path, field: dict[str, object]) -> None:
    Path("f.yaml").write_text(yaml.safe_dump({"field": field, "damping": 0.1}))
    done = run(*BASE, "--steps", 4, "--config", "f.yaml", "--interval", 1)
    assert done.exit_code == 0, done.output
    assert os.path.exists("spin_dynamics/final.extxyz")
