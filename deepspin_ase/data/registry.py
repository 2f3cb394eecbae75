"""The formats of labelled frames, and what users call: ``read_frames`` and ``write_frames``."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from deepspin_ase.data.checks import PlausibleLimits, check_plausible
from deepspin_ase.data.frames import Frame, FrameError
from deepspin_ase.data.text_file import is_compressed, read_text
from deepspin_ase.errors import InputError

logger = logging.getLogger(__name__)

_HEAD = 200_000  # characters of a file that are looked at when guessing its format


@dataclass(frozen=True)
class Format:
    """A file format, and the module with its ``read(path, **keys)`` and, if ``writes``, its ``write``."""

    name: str
    module: str
    summary: str
    writes: bool = True
    hint: str = ""

    def load(self, direction: str) -> Callable[..., Any]:
        """Import the module and return its ``read`` or ``write``."""
        return getattr(import_module(self.module), direction)


FORMATS: Final[dict[str, Format]] = {
    f.name: f
    for f in (
        Format("extxyz", "deepspin_ase.data.extxyz", "extended XYZ, one text file, also .gz"),
        Format("deepmd-npy", "deepspin_ase.data.deepmd_npy", "DeePMD-kit npy with spin.npy and force_mag.npy"),
        Format(
            "deepmd-tf",
            "deepspin_ase.data.deepmd_tf",
            "DeePMD-kit TensorFlow layout with pseudo atoms for spins",
            hint='spin={"Ni": (virtual_len in Å, spin_norm in µB)}, on the command line --spin Ni:0.4:1.2737',
        ),
        Format(
            "abacus",
            "deepspin_ase.data.abacus",
            "ABACUS running_scf/relax/md.log with DeltaSpin",
            writes=False,
        ),
        Format(
            "vasp-deltaspin",
            "deepspin_ase.data.vasp_deltaspin",
            "VASP + DeltaSpin run directory",
            writes=False,
        ),
        Format("abinit", "deepspin_ase.data.abinit", "ABINIT *.abo with constraint_kind", writes=False),
    )
}


def read_frames(
    path: str | Path, format: str | None = None, *, limits: PlausibleLimits | None = None, **keys: Any
) -> list[Frame]:
    """Read labelled frames. Either all of them are fine, or an error says which is not.

    Parameters
    ----------
    path
        File (extended XYZ, ABACUS and ABINIT outputs also compressed with gzip) or directory.
    format
        One of :data:`FORMATS`; guessed from the content if None.
    limits
        What counts as physically impossible; see :class:`~deepspin_ase.data.checks.PlausibleLimits`.
    **keys
        Options of the format, listed in ``docs/formats.md``.

    Returns
    -------
    list of Frame
        In the order of the file; moments (n, 3) in ``frame.atoms``; at least one.

    Raises
    ------
    FrameError
        A truncated, inconsistent or implausible file; names the file, the frame and, where there is one, the
        line.
    InputError
        Unknown format or option.
    FileNotFoundError
        There is no such path.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    entry = _entry(format) if format is not None else FORMATS[guess_format(path)]
    reader = entry.load("read")
    _check_options(reader, keys, entry, "reading")
    frames: list[Frame] = reader(path, **keys)
    if not frames:
        raise FrameError(f"no frames were found (format {entry.name!r})", source=path)
    for frame in frames:
        check_plausible(frame, limits)
    logger.info("%s: %d frames (%s)", path, len(frames), entry.name)
    return frames


def write_frames(path: str | Path, frames: Sequence[Frame], format: str | None = None, **keys: Any) -> None:
    """Write labelled frames.

    Parameters
    ----------
    path
        File (extxyz) or directory (the deepmd formats); directories above it are made.
    frames
        What to write; every label that is present is written.
    format
        One of :data:`FORMATS` that can be written; if None, ``extxyz`` for .xyz and .extxyz files, also with .gz.
    **keys
        Options of the format, listed in ``docs/formats.md``.

    Raises
    ------
    InputError
        Unknown or read-only format, unknown option, no frames, or frames that the format cannot hold.
    """
    path = Path(path)
    frames = list(frames)
    if not frames:
        raise InputError(f"there are no frames to write to {path}")
    if format is None:
        if not path.name.lower().removesuffix(".gz").endswith((".xyz", ".extxyz")):
            raise InputError(
                f"the name {path.name!r} does not say the format; give format= (--to), one of: {_names(True)}"
            )
        format = "extxyz"
    entry = _entry(format)
    if not entry.writes:
        raise InputError(f"{entry.name!r} can only be read; formats that can be written: {_names(True)}")
    writer = entry.load("write")
    _check_options(writer, keys, entry, "writing")
    path.parent.mkdir(parents=True, exist_ok=True)
    writer(path, frames, **keys)
    logger.info("%s: %d frames written (%s)", path, len(frames), entry.name)


def guess_format(path: str | Path) -> str:
    """Name of the format of a file or directory, from its content.

    Raises
    ------
    FrameError
        If the content looks like none of :data:`FORMATS`.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    name = _guess_directory(path) if path.is_dir() else _guess_file(path)
    if name is None:
        raise FrameError(f"the format is not recognised; give format= (--from), one of: {_names(False)}", source=path)
    return name


def _guess_file(path: Path) -> str | None:
    if is_compressed(path):
        head = tail = read_text(path)
    else:
        with path.open(encoding="utf-8", errors="replace") as stream:
            head = stream.read(_HEAD)
            stream.seek(max(path.stat().st_size - _HEAD, 0))
            tail = stream.read()
    lines = head.splitlines()
    if len(lines) > 1 and lines[0].strip().isdigit():
        return "extxyz"
    if "ABACUS" in head[:5000]:
        return "abacus"
    if "of ABINIT" in head[:500]:
        return "abinit"
    if "Magnetic Force" in tail or "final optimal lambda" in tail:
        return "vasp-deltaspin"
    return None


def _guess_directory(path: Path) -> str | None:
    from deepspin_ase.data.deepmd_files import find_systems, looks_like_pseudo_atoms

    systems = find_systems(path)
    if systems:
        return "deepmd-tf" if looks_like_pseudo_atoms(systems[0]) else "deepmd-npy"
    if list(path.glob("running_*.log")) or list(path.glob("OUT.*/running_*.log")):
        return "abacus"
    if list(path.glob("*.abo")):
        return "abinit"
    if (path / "POSCAR").is_file() or (path / "CONTCAR").is_file():
        return "vasp-deltaspin"
    return None


def _entry(name: str) -> Format:
    if name not in FORMATS:
        raise InputError(f"unknown format {name!r}; allowed: {_names(False)}")
    return FORMATS[name]


def _names(writable: bool) -> str:
    return ", ".join(f.name for f in FORMATS.values() if f.writes or not writable)


def _check_options(function: Callable[..., Any], keys: dict[str, Any], entry: Format, doing: str) -> None:
    """Unknown and missing options, before any work is done."""
    parameters = inspect.signature(function).parameters.items()
    known = {name: p for name, p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    unknown = sorted(set(keys) - set(known))
    if unknown:
        raise InputError(
            f"{doing} {entry.name!r} has no option {', '.join(map(repr, unknown))}; it has: "
            f"{', '.join(known) or 'none'}"
        )
    missing = [n for n, p in known.items() if p.default is inspect.Parameter.empty and n not in keys]
    if missing:
        raise InputError(f"{doing} {entry.name!r} needs the option {', '.join(map(repr, missing))}: {entry.hint}")
