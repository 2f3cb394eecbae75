"""What ``deepspin label`` does."""

from __future__ import annotations

import shlex
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import yaml
from ase import Atoms

from deepspin_ase.data import read_frames, write_frames
from deepspin_ase.errors import InputError
from deepspin_ase.labeling.campaign import label_all
from deepspin_ase.labeling.contract import Labeler
from deepspin_ase.labeling.state import campaign_status
from deepspin_ase.structure_file import read_structures
from deepspin_plugins.labelers.abacus import AbacusLabeler, AbacusSettings
from deepspin_plugins.labelers.abinit import AbinitLabeler
from deepspin_plugins.labelers.abinit_settings import AbinitSettings
from deepspin_plugins.labelers.vasp import VaspDeltaSpinLabeler, VaspDeltaSpinSettings

ENGINES: Final = ("abinit", "vasp-deltaspin", "abacus")


@dataclass(frozen=True)
class Job:
    """Options of the command line; see ``plugin.py``."""

    structures: Path
    engine: str
    settings: Path | None
    program: str
    directory: Path
    output: Path
    workers: int
    retry_failed: bool
    prepare: bool


def run(job: Job) -> str:
    """Label, write the frames, and return the text for the screen."""
    labeler = make_labeler(job.engine, _read_settings(job.settings), job.program, prepare=job.prepare)
    structures = frames_or_structures(job.structures)
    # processes, so that Ctrl-C reaches every worker, which then ends its engine; fresh ones, since we may have threads
    with ProcessPoolExecutor(job.workers, mp_context=get_context("spawn")) as pool:
        executor = pool if job.workers > 1 else None
        report = label_all(structures, labeler, job.directory, executor=executor, retry_failed=job.retry_failed)
    lines = [report.summary()]
    if report.frames:
        write_frames(job.output, report.frames, "extxyz")
        lines.append(f"labelled frames are in {job.output}")
    return "\n".join(lines)


def status_text(directory: Path) -> str:
    """Counts of calculations by state."""
    counts = campaign_status(directory)
    return "\n".join(f"{name:10s} {count}" for name, count in counts.items())


def make_labeler(engine: str, settings: dict[str, Any], program: str = "", *, prepare: bool = False) -> Labeler:
    """Labeler of an engine.

    Parameters
    ----------
    engine
        One of :data:`ENGINES`.
    settings
        Fields of the engine's settings.
    program
        Command line that runs it.
    prepare
        Only write inputs.

    Raises
    ------
    InputError
        Unknown engine or setting, or nothing to run.
    """
    command = shlex.split(program)
    if engine == "abinit":
        if prepare:
            raise InputError("--prepare is for vasp-deltaspin and abacus; the ABINIT labeler runs ABINIT itself")
        return AbinitLabeler(_settings(AbinitSettings, settings), command=command or ("abinit",))
    if engine not in ENGINES:
        raise InputError(f"unknown engine {engine!r}; allowed: {', '.join(ENGINES)}")
    if not command and not prepare:
        raise InputError(f"--engine {engine} needs --program (the command that runs it), or --prepare")
    wanted = None if prepare else command
    if engine == "abacus":
        return AbacusLabeler(_settings(AbacusSettings, settings), command=wanted)
    return VaspDeltaSpinLabeler(_settings(VaspDeltaSpinSettings, settings), command=wanted)


def abinit(*, program: str = "", **settings: Any) -> Labeler:
    """Labeler of active learning (``engine: abinit``); its options are the settings of ABINIT and the program."""
    return make_labeler("abinit", settings, program)


def frames_or_structures(path: Path) -> list[Atoms]:
    """All structures of a file, with their moments; extended XYZ as a file of labelled frames is read.

    Raises
    ------
    InputError
        No such file, or one that cannot be read.
    """
    if path.is_file() and path.name.removesuffix(".gz").endswith((".xyz", ".extxyz")):
        return [frame.atoms for frame in read_frames(path, "extxyz")]
    return read_structures(path)


def _read_settings(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as problem:
        raise InputError(f"{path} is no YAML file: {problem}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold NAME: VALUE lines, it holds a {type(values).__name__}")
    return values


def _settings(kind: type, values: dict[str, Any]) -> Any:
    allowed = [field.name for field in fields(kind)]
    unknown = sorted(set(values) - set(allowed))
    if unknown:
        raise InputError(f"unknown settings {', '.join(unknown)}; allowed: {', '.join(allowed)}")
    try:
        return kind(**values)
    except TypeError as problem:
        raise InputError(f"{kind.__name__}: {problem}") from None
