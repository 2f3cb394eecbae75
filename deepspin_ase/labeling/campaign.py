"""Label many structures: in this process, in a pool, on a cluster; stop and start again at any moment."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from deepspin_ase.data import Frame
from deepspin_ase.errors import InputError
from deepspin_ase.labeling.contract import FailedLabel, Labeler, check_frame
from deepspin_ase.labeling.state import calculation_name, store, stored_result, write_state
from deepspin_ase.moments import get_moments
from deepspin_ase.progress import track


@dataclass(frozen=True, eq=False)
class LabelingReport:
    """What came of a list of structures.

    Parameters
    ----------
    results
        One per structure, in their order: a frame or a failure.
    """

    results: tuple[Frame | FailedLabel, ...]

    @property
    def frames(self) -> list[Frame]:
        """The labelled frames."""
        return [result for result in self.results if isinstance(result, Frame)]

    @property
    def failures(self) -> list[FailedLabel]:
        """Structures that have no label, with the reason."""
        return [result for result in self.results if isinstance(result, FailedLabel)]

    def summary(self) -> str:
        """Numbers, and the reasons of failures, as text."""
        prepared = sum(failure.prepared for failure in self.failures)
        lines = [
            f"{len(self.frames)} labelled, {len(self.failures) - prepared} failed, {prepared} prepared "
            f"of {len(self.results)}"
        ]
        for index, result in enumerate(self.results):
            if isinstance(result, FailedLabel) and not result.prepared:
                lines.append(f"structure {index}: {result.reason}")
        return "\n".join(lines)


def label_all(
    structures: Sequence[Atoms],
    labeler: Labeler,
    directory: str | Path,
    *,
    executor: Executor | None = None,
    retry_failed: bool = False,
    show: bool | None = None,
) -> LabelingReport:
    """Label structures; what an earlier run finished in the same directory is taken from there.

    Parameters
    ----------
    structures
        Structures with moments. Equal ones are calculated once.
    labeler
        The engine.
    directory
        Where calculations live, one directory each, named by structure and settings.
    executor
        Where to run, e.g. a process pool or ``dask.distributed.Client(...).get_executor()``; default: here, one
        after the other.
    retry_failed
        Calculate again what failed earlier.
    show
        Progress bar; default: on a terminal.

    Raises
    ------
    InputError
        A structure without atoms or moments, or with something that is not finite; another campaign at work in the
        directory.
    """
    for index, atoms in enumerate(structures):
        _check(atoms, index)
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True)
    places = [root / calculation_name(atoms, labeler.identity) for atoms in structures]
    work = dict(zip(places, structures, strict=True))
    results: dict[Path, Frame | FailedLabel] = {}
    with _only_campaign(root):
        for place, atoms in work.items():
            known = stored_result(place, atoms)
            if known is not None and not (retry_failed and isinstance(known, FailedLabel)):
                results[place] = known
        left = {place: atoms for place, atoms in work.items() if place not in results}
        for place, result in track(_run(left, labeler, executor), "Labelling", total=len(left), show=show):
            results[place] = result
    return LabelingReport(tuple(results[place] for place in places))


def label_one(labeler: Labeler, atoms: Atoms, directory: Path) -> Frame | FailedLabel:
    """Label one structure and leave the result in its directory.

    An exception of the labeler becomes a failure with its message, so that one structure does not stop the others.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_state(directory, "running")
    start = time.monotonic()
    try:
        result = labeler.label(atoms, directory)
    except Exception as problem:  # whatever an engine or its files stumble over belongs to this structure
        result = FailedLabel(atoms, f"{type(problem).__name__}: {problem}")
    if isinstance(result, Frame) and (reason := check_frame(result)):
        result = FailedLabel(atoms, reason)
    store(directory, result, round(time.monotonic() - start, 1))
    return result


def _run(
    work: dict[Path, Atoms], labeler: Labeler, executor: Executor | None
) -> Iterator[tuple[Path, Frame | FailedLabel]]:
    if executor is None:
        for place, atoms in work.items():
            yield place, label_one(labeler, atoms, place)
        return
    futures: dict[Future[Frame | FailedLabel], Path] = {
        executor.submit(label_one, labeler, atoms, place): place for place, atoms in work.items()
    }
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        for future in futures:
            future.cancel()


@contextmanager
def _only_campaign(root: Path) -> Iterator[None]:
    """Keep a second campaign out of the directory; the lock of a killed one is gone with it."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        yield
        return
    with (root / ".lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"another labelling is at work in {root}; wait for it or use another directory") from None
        yield


def _check(atoms: Atoms, index: int) -> None:
    if len(atoms) == 0:
        raise InputError(f"structure {index} has no atoms")
    moments = get_moments(atoms)
    for name, values in (("positions", atoms.positions), ("cell", atoms.cell.array), ("moments", moments)):
        if not np.isfinite(values).all():
            raise InputError(f"structure {index}: {name} are not finite")
    if not moments.any():
        raise InputError(f"structure {index} has no moments; set them with deepspin_ase.set_moments(atoms, ...)")
