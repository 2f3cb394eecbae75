"""What is declared is what is on disk, in an editable and in a normal install."""

from __future__ import annotations

import configparser
import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import deepspin_ase

SOURCES = {"deepspin_ase": "deepspin_ase", "deepspin_plugins": "plugins/deepspin_plugins"}


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


@pytest.fixture(scope="module")
def config(repository: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(repository / "setup.cfg", encoding="utf-8")
    return parser


@pytest.fixture(scope="module")
def on_disk(repository: Path) -> dict[str, Path]:
    """Packages in the source tree: import name -> directory."""
    found = {}
    for name, source in SOURCES.items():
        root = repository / source
        for init in root.rglob("__init__.py"):
            parts = init.parent.relative_to(root).parts
            found[".".join((name, *parts))] = init.parent
    return found


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a clean copy of the sources."""
    work = tmp_path_factory.mktemp("wheel")
    copy = work / "source"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("deepspin_ase", "plugins"):
        shutil.copytree(repository / name, copy / name, ignore=ignore)
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        if (repository / name).exists():
            shutil.copy(repository / name, copy / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        work,
        copy,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = work.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The wheel unpacked as pip would do it."""
    target = wheel.parent / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def test_declared_packages_are_those_on_disk(config: configparser.ConfigParser, on_disk: dict[str, Path]) -> None:
    assert sorted(lines(config["options"]["packages"])) == sorted(on_disk)


def test_every_directory_with_python_files_is_a_package(repository: Path, on_disk: dict[str, Path]) -> None:
    with_code = {f.parent for source in SOURCES.values() for f in (repository / source).rglob("*.py")}
    assert with_code == set(on_disk.values())


def test_package_dir_names_both_source_roots(config: configparser.ConfigParser) -> None:
    pairs = dict(re.split(r"\s*=\s*", line) for line in lines(config["options"]["package_dir"]))
    assert pairs == SOURCES


def test_editable_install_imports_the_declared_packages(on_disk: dict[str, Path]) -> None:
    for name, directory in on_disk.items():
        spec = find_spec(name)
        assert spec is not None, name
        assert Path(str(spec.origin)).parent == directory


def test_no_top_level_package_is_called_plugins() -> None:
    code = "import importlib.util; print(importlib.util.find_spec('plugins'))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"


def test_wheel_has_every_module_and_nothing_else(wheel: Path, on_disk: dict[str, Path]) -> None:
    expected = {
        f"{name.replace('.', '/')}/{file.name}"
        for name, directory in on_disk.items()
        for file in directory.glob("*.py")
    }
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {n for n in names if n.endswith(".py")} == expected
    tops = {n.split("/")[0] for n in names}
    assert tops == {"deepspin_ase", "deepspin_plugins", f"deepspin_ase-{deepspin_ase.__version__}.dist-info"}


def test_wheel_has_every_data_file(wheel: Path, repository: Path) -> None:
    expected = {
        f"{name}/{file.relative_to(repository / source).as_posix()}"
        for name, source in SOURCES.items()
        for file in (repository / source).rglob("*")
        if file.is_file() and file.suffix != ".py" and "__pycache__" not in file.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        present = {n for n in archive.namelist() if not n.endswith(".py") and ".dist-info/" not in n}
    assert present == expected
    assert {"deepspin_ase/py.typed", "deepspin_plugins/py.typed"} <= present


@pytest.mark.parametrize("model", ["nio", "fcc-fe", "fe-bcc"])
def test_wheel_has_the_shipped_models_and_their_cards(wheel: Path, model: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert f"deepspin_ase/model/zoo/{model}.pt" in names
    assert f"deepspin_ase/model/zoo/{model}.md" in names


def test_wheel_metadata(installed: Path) -> None:
    (info,) = installed.glob("*.dist-info")
    metadata = email.message_from_string((info / "METADATA").read_text(encoding="utf-8"))
    assert metadata["Name"] == "deepspin-ase"
    assert metadata["Version"] == deepspin_ase.__version__
    assert metadata["License"] == "MIT"
    assert (info / "licenses" / "LICENSE").is_file()


def run_installed(installed: Path, cwd: Path, *arguments: str) -> str:
    """Run Python with the unpacked wheel in front of everything else."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_normal_install_is_imported_from_where_it_was_installed(installed: Path, tmp_path: Path) -> None:
    code = "import deepspin_ase, deepspin_plugins; print(deepspin_ase.__file__, deepspin_plugins.__file__)"
    files = run_installed(installed, tmp_path, "-c", code).split()
    assert [Path(file).parents[1] for file in files] == [installed, installed]


def test_normal_install_finds_its_own_plugins(installed: Path, tmp_path: Path) -> None:
    table = run_installed(installed, tmp_path, "-m", "deepspin_ase.cli", "plugins").splitlines()
    names = ["curie", "exchange", "label", "magnons", "phonons", "point", "spin-dynamics"]
    assert [row.split()[0] for row in table] == ["name", *names]
    assert all(row.endswith("ok") for row in table[1:])


def test_entry_points_are_registered() -> None:
    found = {(p.group, p.name) for group in ("deepspin_ase.plugins", "ase.plugins") for p in entry_points(group=group)}
    assert {("deepspin_ase.plugins", "point"), ("ase.plugins", "deepspin")} <= found


def test_every_entry_point_of_setup_cfg_can_be_loaded(config: configparser.ConfigParser) -> None:
    declared = [line for group in config["options.entry_points"].values() for line in lines(group)]
    targets = dict(re.split(r"\s*=\s*", line) for line in declared)
    known = {p.name: p for g in config["options.entry_points"] for p in entry_points(group=g) if p.name in targets}
    assert {name: point.value for name, point in known.items()} == targets
    for point in known.values():
        assert point.load() is not None


def test_every_dependency_is_pinned_in_constraints(config: configparser.ConfigParser, repository: Path) -> None:
    pins = [Requirement(line) for line in lines((repository / "constraints.txt").read_text(encoding="utf-8"))]
    pinned = {pin.name for pin in pins}
    wanted = [Requirement(line) for line in lines(config["options"]["install_requires"])]
    wanted += [Requirement(line) for line in lines(config["options.extras_require"]["test"])]
    assert {w.name.lower() for w in wanted} <= pinned
    versions = {pin.name: next(iter(pin.specifier)) for pin in pins}
    assert all(s.operator == "==" for s in versions.values())
    for want in wanted:
        assert want.specifier.contains(versions[want.name.lower()].version), want


def test_torch_is_pinned_without_a_build_tag(repository: Path) -> None:
    assert "torch==2.13.0" in lines((repository / "constraints.txt").read_text(encoding="utf-8"))


def test_every_third_party_import_is_declared(config: configparser.ConfigParser, repository: Path) -> None:
    declared = {Requirement(line).name for line in lines(config["options"]["install_requires"])}
    declared |= {Requirement(line).name for line in lines(config["options.extras_require"]["tensorboard"])}
    provides = {"pyyaml": "yaml", "torch-geometric": "torch_geometric"}
    allowed = {provides.get(name, name) for name in declared} | set(sys.stdlib_module_names) | set(SOURCES)
    allowed.add("mpl_toolkits")  # part of matplotlib
    pattern = re.compile(r"^\s*(?:from|import)\s+([A-Za-z_]\w*)", re.MULTILINE)
    for source in SOURCES.values():
        for file in (repository / source).rglob("*.py"):
            code = re.sub(r'"""[\s\S]*?"""', "", file.read_text(encoding="utf-8"))
            foreign = set(pattern.findall(code)) - allowed
            assert not foreign, f"{file}: {foreign}"


def test_every_dependency_is_imported_somewhere(config: configparser.ConfigParser, repository: Path) -> None:
    names = {"pyyaml": "yaml", "torch-geometric": "torch_geometric"}
    code = "\n".join(f.read_text("utf-8") for s in SOURCES.values() for f in (repository / s).rglob("*.py"))
    for line in lines(config["options"]["install_requires"]):
        name = Requirement(line).name
        assert re.search(rf"(?:from|import) {names.get(name, name)}\b", code), f"{name} is declared but not used"


def test_version_is_in_the_changelog(repository: Path) -> None:
    assert f"## [{deepspin_ase.__version__}]" in (repository / "CHANGELOG.md").read_text(encoding="utf-8")


def test_continuous_integration_runs_make_test(repository: Path) -> None:
    script = repository / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert lines(script.read_text(encoding="utf-8"))[-1] == "make --no-print-directory test"
