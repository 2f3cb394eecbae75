"""The command line: quick help, clean messages, exit codes, and plugins that cannot break it."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import deepspin_ase
from deepspin_ase.cli import CORE_COMMANDS, CoreCommand, app

Install = Callable[..., Path]

PLUGIN = """
from typing import Annotated
import typer

class P:
    name = "acme"
    summary = "Counts [red]spins[/nonsense]."
    api_version = 1
    required_properties = ("energy",)

    def command(self, number: Annotated[int, typer.Option(help="How many.")] = 2) -> None:
        \"\"\"Count spins in [eV].\"\"\"
        {body}

plugin = P()
"""


def deepspin(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    environment = {**os.environ, "COLUMNS": "160", "TERMINAL_WIDTH": "160", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "deepspin_ase.cli", *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0 or not check, done.stderr
    return done


def run(*arguments: str) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(app, list(arguments), prog_name="deepspin", env={"TERMINAL_WIDTH": "160"})


@pytest.fixture
def core_command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., None]], None]:
    """Put a function behind the command ``trial``."""

    def install(function: Callable[..., None]) -> None:
        monkeypatch.setattr("deepspin_ase.commands.trial", function, raising=False)
        monkeypatch.setitem(CORE_COMMANDS, "trial", CoreCommand("deepspin_ase.commands", "trial", "On trial."))

    return install


def test_help_lists_core_commands_and_plugins() -> None:
    text = deepspin("--help").stdout
    for name, command in CORE_COMMANDS.items():
        assert re.search(rf"\b{name}\s+{re.escape(command.summary)}", text), name
    assert "point" in text.partition("Plugins")[2]


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from deepspin_ase.cli import app\n"
        "try: app(['--help'], prog_name='deepspin')\n"
        "except SystemExit as end: print('exit', end.code)\n"
        "heavy = {'torch', 'lightning', 'ase', 'matplotlib', 'scipy', 'numba', 'h5py'}\n"
        "print('loaded', *heavy.intersection(sys.modules))"
    )
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert "exit 0" in lines
    assert "loaded" in lines


@pytest.mark.parametrize("name", CORE_COMMANDS)
def test_core_command_exists_and_explains_itself(name: str) -> None:
    entry = CORE_COMMANDS[name]
    function = getattr(import_module(entry.module), entry.function)
    assert inspect.getdoc(function)
    result = run(name, "--help")
    assert result.exit_code == 0, result.output
    assert f"deepspin {name}" in result.stdout


@pytest.mark.parametrize("name", CORE_COMMANDS)
def test_help_of_a_core_command_loads_no_torch(name: str) -> None:
    code = (
        "import sys\nfrom deepspin_ase.cli import app\n"
        f"try: app([{name!r}, '--help'], prog_name='deepspin')\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_no_arguments_show_the_help() -> None:
    assert "Commands" in run().output


def test_version() -> None:
    assert deepspin("--version").stdout == f"deepspin-ase {deepspin_ase.__version__}\n"


def test_unknown_command_is_answered_with_a_suggestion() -> None:
    result = run("trian")
    assert result.exit_code == 2
    assert "'train'" in result.stderr


def test_plugins_lists_name_version_distribution_summary_and_status() -> None:
    header, *rows = deepspin("plugins").stdout.splitlines()
    assert header.split() == ["name", "version", "distribution", "summary", "status"]
    (row,) = [r for r in rows if r.startswith("point")]
    assert row.split()[1:3] == [deepspin_ase.__version__, "deepspin-ase"]
    assert "magnetic forces" in row
    assert row.endswith("ok")


def test_models_lists_the_zoo() -> None:
    rows = deepspin("models").stdout.splitlines()[1:]
    assert {"nio", "fcc-fe", "fe-bcc"} <= {row.split()[0] for row in rows}


def test_third_party_command_runs(install_fake: Install) -> None:
    install_fake(
        "acme-spin",
        {"acme": "acme_plugin:plugin"},
        {"acme_plugin": PLUGIN.format(body="print(number * 'up ')")},
    )
    assert deepspin("acme", "--number", "3").stdout == "up up up \n"
    listing = deepspin("--help").stdout
    assert "Counts [red]spins[/nonsense]." in listing
    page = deepspin("acme", "--help").stdout
    assert "Count spins in [eV]." in page
    assert "--number" in page


def test_broken_plugin_warns_and_everything_else_works(install_fake: Install) -> None:
    install_fake("acme-spin", {"acme": "acme_plugin:plugin"}, {"acme_plugin": "raise RuntimeError('boom')"})
    done = deepspin("--help")
    assert "plugin 'acme' of acme-spin 1.2.3 cannot be used" in done.stderr
    assert re.search(r"acme\s+\(broken", done.stdout)
    assert "Train a model" in done.stdout
    listing = deepspin("plugins").stdout
    assert re.search(r"^acme .*BROKEN: .*RuntimeError: boom$", listing, re.MULTILINE)
    assert re.search(r"^point .*ok$", listing, re.MULTILINE)
    assert "Traceback" not in listing
    assert "Traceback" in deepspin("plugins", "--details").stdout


def test_broken_plugin_is_silent_while_another_command_runs(install_fake: Install) -> None:
    install_fake("acme-spin", {"acme": "acme_plugin:plugin"}, {"acme_plugin": "raise RuntimeError('boom')"})
    assert deepspin("models").stderr == ""


def test_running_a_broken_plugin_is_a_clean_error(install_fake: Install) -> None:
    install_fake("acme-spin", {"acme": "acme_plugin:plugin"}, {"acme_plugin": "raise RuntimeError('boom')"})
    done = deepspin("acme", check=False)
    assert done.returncode == 2
    assert "boom" in done.stderr
    assert "Traceback" not in done.stderr


def test_plugin_command_that_typer_cannot_digest_is_a_clean_error(install_fake: Install) -> None:
    code = PLUGIN.format(body="pass").replace("int,", "int | str,")
    install_fake("acme-spin", {"acme": "acme_plugin:plugin"}, {"acme_plugin": code})
    result = run("acme", "--number", "1")
    assert result.exit_code == 2
    assert "cannot be turned into a command line" in result.stderr


def test_plugin_with_the_name_of_a_core_command_does_not_replace_it(install_fake: Install) -> None:
    code = PLUGIN.format(body="print('hijacked')").replace('"acme"', '"models"')
    install_fake("acme-spin", {"models": "acme_plugin:plugin"}, {"acme_plugin": code})
    assert "hijacked" not in deepspin("models").stdout
    assert "belongs to a core command" in deepspin("plugins").stdout
    assert "List the models" in deepspin("--help").stdout


def test_user_error_is_one_message_and_exit_code_2(core_command: Callable[..., None]) -> None:
    def trial() -> None:
        """Fail."""
        raise deepspin_ase.DeepSpinError("cutoff is -1 Å; give a positive number")

    core_command(trial)
    result = run("trial")
    assert result.exit_code == 2
    assert result.stderr == "error: cutoff is -1 Å; give a positive number\n"
    assert result.stdout == ""


def test_debug_keeps_the_traceback(core_command: Callable[..., None]) -> None:
    def trial() -> None:
        """Fail."""
        raise deepspin_ase.DeepSpinError("cutoff")

    core_command(trial)
    assert isinstance(run("--debug", "trial").exception, deepspin_ase.DeepSpinError)


def test_missing_file_is_a_clean_error(core_command: Callable[..., None], tmp_path: Path) -> None:
    def trial() -> None:
        """Fail."""
        (tmp_path / "nothing.xyz").read_text()

    core_command(trial)
    result = run("trial")
    assert result.exit_code == 2
    assert result.stderr == f"error: {tmp_path / 'nothing.xyz'}: No such file or directory\n"


def test_a_defect_of_ours_keeps_its_traceback(core_command: Callable[..., None]) -> None:
    def trial() -> None:
        """Fail."""
        raise ZeroDivisionError

    core_command(trial)
    assert isinstance(run("trial").exception, ZeroDivisionError)


def test_help_text_ends_where_the_numpy_sections_begin(core_command: Callable[..., None]) -> None:
    def trial() -> None:
        """Do it in [eV].

        More about it.

        Raises
        ------
        ValueError
            Never.
        """

    core_command(trial)
    page = run("trial", "--help").stdout
    assert "Do it in [eV]." in page
    assert "More about it." in page
    assert "Raises" not in page


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_interrupt_ends_with_130_and_no_traceback(install_fake: Install) -> None:
    body = "import time; print('ready', flush=True); time.sleep(60)"
    install_fake("acme-spin", {"acme": "acme_plugin:plugin"}, {"acme_plugin": PLUGIN.format(body=body)})
    process = subprocess.Popen(
        [sys.executable, "-m", "deepspin_ase.cli", "acme"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell starts background jobs with SIGINT ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert stderr == "Interrupted.\n"
