"""Validate a model of bcc iron.

python data/fe_bcc/validate.py run RUNS [2]    # label the direct points, two at a time; stop and repeat at will
python data/fe_bcc/validate.py collect RUNS    # write what is finished to direct.extxyz
python data/fe_bcc/validate.py report [MODEL] [OUTPUT] [--no-direct]  # table, validation.json, pictures

MODEL is fe-bcc or a checkpoint, OUTPUT runs/fe_bcc_validation. ``--no-direct`` leaves out the longest part, the Curie
temperature by direct sampling. Numbers are written after each part, so a run that is stopped leaves what it has.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from direct_points import direct_points
from make_frames import IronLabeler
from validation_energies import equation_of_state, label_errors, moment_curve, spin_spirals
from validation_excitations import (
    curie_of_exchange,
    curie_of_potential,
    exchange_shells,
    lattice_vibrations,
    magnons,
)
from validation_study import Iron, Row, Study

from deepspin_ase import DeepSpin
from deepspin_ase.data import Frame, read_frames, write_frames
from deepspin_ase.errors import DeepSpinError
from deepspin_ase.labeling import label_all
from deepspin_ase.labeling.state import calculation_name, stored_result

DIRECT: Final = Path(__file__).with_name("direct.extxyz")
STUDIES: Final[Mapping[str, Callable[[Iron], Study]]] = {
    "errors": label_errors,
    "volume": equation_of_state,
    "moment": moment_curve,
    "spirals": spin_spirals,
    "exchange": exchange_shells,
    "magnons": magnons,
    "phonons": lattice_vibrations,
    "curie": curie_of_exchange,
    "direct": curie_of_potential,
}


def run(directory: str, workers: str = "1") -> None:
    """Label what is missing."""
    with ThreadPoolExecutor(int(workers)) as pool:  # threads are enough: ABINIT is a process of its own
        say(label_all(direct_points(), IronLabeler(), directory, executor=pool).summary())


def collect(directory: str) -> None:
    """Write finished points to ``direct.extxyz``."""
    points = direct_points()
    identity = IronLabeler().identity
    frames = []
    for atoms in points:
        frame = stored_result(Path(directory) / calculation_name(atoms, identity), atoms)
        if isinstance(frame, Frame):
            frames.append(Frame(frame.atoms, frame.labels, source="ABINIT", info={**frame.info, **atoms.info}))
    write_frames(DIRECT, frames)
    say(f"{len(frames)} of {len(points)} points in {DIRECT}")


def report(model: str = "fe-bcc", output: str = "runs/fe_bcc_validation", *, direct: bool = True) -> None:
    """Print the table; write numbers and pictures."""
    frames = read_frames(DIRECT) if DIRECT.is_file() else []
    names = [name for name in STUDIES if direct or name != "direct"]
    studied(DeepSpin(model), frames, Path(output), names, title=model)


def studied(calc: Any, frames: Sequence[Frame], output: Path, names: Sequence[str], title: str) -> list[Row]:
    """Go through studies of a calculator; table to the screen, ``validation.json`` and pictures to the folder.

    Parameters
    ----------
    calc
        Calculator with magnetic forces.
    frames
        Direct points, with their names in ``info["point"]``.
    output
        Folder; made if there is none.
    names
        Keys of ``STUDIES``.
    title
        Name of the potential.
    """
    output.mkdir(parents=True, exist_ok=True)
    data = Iron(calc, {str(frame.info["point"]): frame for frame in frames})
    say(f"{title}, {len(frames)} direct points\n{'':40s} {'value':>11s}   {'error':<9s} unit")
    rows: list[Row] = []
    for name in names:
        try:
            study = STUDIES[name](data)
        except (DeepSpinError, ValueError, RuntimeError) as problem:  # the potential's fault, such as a state that
            study = Study([Row(name, "", math.nan, remark=f"not possible: {problem}")])  # is not stable: a result, too
        if study.figure is not None:
            study.figure.savefig(output / f"{name}.png", dpi=150)
        for row in study.rows:
            say(as_text(row))
        rows += study.rows
        table = [{key: plain(value) for key, value in row._asdict().items()} for row in rows]
        text = json.dumps({"model": title, "rows": table}, indent=1, ensure_ascii=False)
        (output / "validation.json").write_text(text + "\n", encoding="utf-8")
    say(f"numbers and pictures are in {output}")
    return rows


def as_text(row: Row) -> str:
    """One line of the table."""
    error = f"± {row.error:<9.3g}" if math.isfinite(row.error) else 11 * " "
    value = f"{row.value:11.4g}" if math.isfinite(row.value) else f"{'-':>11s}"
    return f"{row.quantity:40s} {value} {error} {row.unit:9s} {row.beside:32s} {row.remark}".rstrip()


def plain(value: str | float) -> str | float | None:
    """What JSON can hold: NaN becomes null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> None:
    """Run one of the modes."""
    match arguments:
        case ["run", directory, *workers] if len(workers) < 2:
            run(directory, *workers)
        case ["collect", directory]:
            collect(directory)
        case ["report", *rest] if len(given := [word for word in rest if word != "--no-direct"]) < 3:
            report(*given, direct="--no-direct" not in rest)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
