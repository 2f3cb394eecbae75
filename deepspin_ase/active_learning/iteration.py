"""One iteration, stage by stage. A stage is finished when its JSON file is there, which is written last and at once.

=========  ============================  =====================================================================
stage      file                          further files
=========  ============================  =====================================================================
train      ``train.json``                ``training.extxyz``, ``validation.extxyz``, ``member-K/``
explore    ``explore.json``              ``explored-N.extxyz``, one per explorer
select     ``select.json``               ``selection.npz``
validate   ``validate.json``             ``fresh.extxyz``
label      ``label.json``                ``labelled.extxyz``
=========  ============================  =====================================================================
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from ase import Atoms

from deepspin_ase.active_learning.committee import Committee, Levels, label_sizes
from deepspin_ase.active_learning.config import LearningConfig
from deepspin_ase.active_learning.exploration import Domain, Exploration, Explorer
from deepspin_ase.active_learning.registry import make_explorer, make_labeler
from deepspin_ase.active_learning.selection import CLASSES, Selection, Trust, select
from deepspin_ase.active_learning.storage import (
    bare,
    read_json,
    read_labelled,
    read_structures,
    write_json,
    write_labelled,
    write_structures,
)
from deepspin_ase.active_learning.training import train_committee
from deepspin_ase.data import Frame, read_frames
from deepspin_ase.errors import InputError
from deepspin_ase.labeling import FailedLabel, Labeler, label_all

STAGES: Final = ("train", "explore", "select", "validate", "label")
START: Final = "start"
LABELS: Final = "labels"


def iteration_folder(output: Path, number: int) -> Path:
    """Directory of an iteration."""
    return output / f"iteration-{number:03d}"


@dataclass(frozen=True)
class Workplace:
    """What all stages share: options, the engine, the explorers, the start structures, the directory."""

    config: LearningConfig
    output: Path
    labeler: Labeler
    explorers: tuple[Explorer, ...]
    structures: tuple[Atoms, ...]
    executor: Executor | None
    say: Callable[[str], None]

    @classmethod
    def build(
        cls, config: LearningConfig, output: Path, executor: Executor | None, say: Callable[[str], None]
    ) -> Workplace:
        """Make engine and explorers and read the start structures; all mistakes of the file come up here.

        Raises
        ------
        InputError
            Unknown names, wrong options, unreadable files, or no explorer for the first labels.
        """
        structures = config.read_structures()
        for path in config.data:
            read_frames(path)
        explorers = tuple(make_explorer(entry.kind, entry.options) for entry in config.explorers)
        if config.initial and all(explorer.needs_model for explorer in explorers):
            kinds = ", ".join(entry.kind for entry in config.explorers)
            raise InputError(f"initial labels need an explorer without a model, such as states; there is only {kinds}")
        labeler = make_labeler(config.labeling.engine, config.labeling.options)
        return cls(config, output, labeler, explorers, structures, executor, say)

    def random(self, iteration: int, stage: int, part: int = 0) -> np.random.Generator:
        """Random numbers of a stage: the same whenever it is run; the stage before the first iteration is -1."""
        return np.random.default_rng([self.config.seed, iteration + 1, stage, part])

    def label(self, structures: Sequence[Atoms], **info: Any) -> tuple[list[Frame], list[dict[str, Any]]]:
        """Frames with what is known about their origin, and failures with their reasons.

        Raises
        ------
        InputError
            All labels failed, or some calculations are only prepared.
        """
        report = label_all(structures, self.labeler, self.output / LABELS, executor=self.executor)
        if prepared := [failure for failure in report.failures if failure.prepared]:
            raise InputError(
                f"{len(prepared)} calculations are prepared in {self.output / LABELS}, but have no results yet; run "
                "them, then continue with --resume"
            )
        if structures and not report.frames:
            reasons = "; ".join(sorted({failure.reason for failure in report.failures})[:3])
            raise InputError(f"all {len(structures)} labels failed: {reasons}")
        frames, failures = [], []
        for atoms, result in zip(structures, report.results, strict=True):
            known = {**atoms.info, **info}
            if isinstance(result, FailedLabel):
                failures.append({**known, "reason": result.reason, "formula": str(atoms.symbols)})
            else:
                frames.append(replace(result, info={**result.info, **known}))
        return frames, failures


def stage(file: Path, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Result of a stage: from its file, or by doing the work."""
    if file.is_file():
        found: dict[str, Any] = read_json(file)
        return found
    begin = time.monotonic()
    values = work()
    values["seconds"] = round(time.monotonic() - begin, 2)
    write_json(file, values)
    return values


def start(place: Workplace) -> dict[str, Any]:
    """First labels, of random proposals of the explorers that need no model."""
    folder, config = place.output / START, place.config

    def work() -> dict[str, Any]:
        pool: list[Atoms] = []
        for number, explorer in enumerate(place.explorers):
            if not explorer.needs_model:
                pool += explorer.explore(Exploration(place.structures, place.random(-1, 0, number)))
        order = place.random(-1, 1).permutation(len(pool))[: config.initial]
        place.say(f"first labels: {len(order)} of {len(pool)} structures")
        frames, failures = place.label([bare(pool[i], **pool[i].info) for i in order], part="initial")
        write_labelled(folder / "labelled.extxyz", frames)
        return {"frames": len(frames), "failures": failures}

    if config.initial == 0:
        return {"frames": 0, "failures": [], "seconds": 0.0}
    return stage(folder / "label.json", work)


class Iteration:
    """One iteration of a run.

    Parameters
    ----------
    place
        What all stages share.
    number
        From 0.
    """

    def __init__(self, place: Workplace, number: int) -> None:
        self.place, self.number = place, number
        self.folder = iteration_folder(place.output, number)

    # ------------------------------------------------------------------ data

    def training_frames(self) -> list[Frame]:
        """All frames that the committee of this iteration is trained on."""
        frames = [frame for path in self.place.config.data for frame in read_frames(path)]
        if self.place.config.initial:
            frames += read_labelled(self.place.output / START / "labelled.extxyz")
        return frames + self._earlier("labelled.extxyz")

    def _earlier(self, name: str) -> list[Frame]:
        folders = [iteration_folder(self.place.output, number) for number in range(self.number)]
        return [frame for folder in folders for frame in read_labelled(folder / name)]

    @property
    def models(self) -> list[Path]:
        """Model files of the committee."""
        return [self.folder / f"member-{k}" / "model.pt" for k in range(self.place.config.committee.members)]

    def committee(self) -> Committee:
        """The trained committee."""
        return Committee(self.models, device=self.place.config.committee.runtime.device)

    def selection(self) -> Selection:
        """Result of the stage select."""
        return Selection.load(self.folder / "selection.npz")

    def explored(self) -> list[Atoms]:
        """Structures of the stage explore."""
        return [
            atoms
            for number, entry in enumerate(self.place.config.explorers)
            if entry.active(self.number)
            for atoms in read_structures(self.folder / f"explored-{number}.extxyz")
        ]

    # ------------------------------------------------------------------ stages

    def train(self) -> dict[str, Any]:
        """Train the committee."""

        def work() -> dict[str, Any]:
            training, validation = self.training_frames(), self._earlier("fresh.extxyz")
            self.place.say(f"iteration {self.number}: training on {len(training)} frames")
            files = {"training": self.folder / "training.extxyz", "validation": self.folder / "validation.extxyz"}
            write_labelled(files["training"], training)
            write_labelled(files["validation"], validation)
            earlier = Iteration(self.place, self.number - 1).models if self.number else []
            train_committee(
                self.place.config.committee,
                self.folder,
                training=files["training"],
                validation=files["validation"] if validation else None,
                before=earlier,
                say=self.place.say,
            )
            return {"training_frames": len(training), "validation_frames": len(validation)}

        return stage(self.folder / "train.json", work)

    def explore(self) -> dict[str, Any]:
        """Let the explorers propose structures; the committee says where they leave its domain."""

        def work() -> dict[str, Any]:
            committee = self.committee()
            domain = Domain(committee, self._trust(committee).high)
            counts: list[dict[str, Any]] = []
            for number, entry in enumerate(self.place.config.explorers):
                if not entry.active(self.number):
                    continue
                file = self.folder / f"explored-{number}.extxyz"
                if not file.is_file():
                    task = Exploration(self.place.structures, self.place.random(self.number, 0, number), domain)
                    found = self.place.explorers[number].explore(task)
                    write_structures(file, [bare(atoms, **{**atoms.info, "explorer": entry.kind}) for atoms in found])
                counts.append({"kind": entry.kind, "structures": len(read_structures(file))})
                self.place.say(f"explorer {entry.kind}: {counts[-1]['structures']} structures")
            if not any(count["structures"] for count in counts):
                raise InputError(
                    f"iteration {self.number}: no explorer is at work, or none proposes anything; look at first and "
                    "last of the explorers"
                )
            return {"explorers": counts}

        return stage(self.folder / "explore.json", work)

    def select(self) -> dict[str, Any]:
        """Choose structures to label and, at random, fresh ones to validate on."""

        def work() -> dict[str, Any]:
            structures, committee, options = self.explored(), self.committee(), self.place.config.selection
            deviations = committee.deviations(structures)
            trust = self._trust(committee)
            chosen = select(
                structures,
                deviations,
                trust.widened(deviations) if options.trust.automatic else trust,
                [frame.atoms for frame in read_labelled(self.folder / "training.extxyz")],
                labels=options.labels,
                fresh=options.validation,
                rng=self.place.random(self.number, 1),
            )
            chosen.save(self.folder / "selection.npz")
            kinds = np.array([str(atoms.info["explorer"]) for atoms in structures])
            by_explorer = {
                kind: {name: int((chosen.classes[kinds == kind] == k).sum()) for k, name in enumerate(CLASSES)}
                for kind in sorted(set(kinds))
            }
            text = ", ".join(f"{fraction:.0%} {name}" for name, fraction in chosen.fractions.items())
            self.place.say(f"{len(structures)} structures: {text}; {len(chosen.chosen)} to label")
            return {"fractions": chosen.fractions, "by_explorer": by_explorer, "chosen": len(chosen.chosen)}

        return stage(self.folder / "select.json", work)

    def validate(self) -> dict[str, Any]:
        """Label fresh frames and compare the committee with them."""

        def work() -> dict[str, Any]:
            frames, failures = self._label(self.selection().fresh.tolist(), part="validation")
            write_labelled(self.folder / "fresh.extxyz", frames)
            return {"frames": len(frames), "failures": failures, **_compare(self.committee(), frames)}

        return stage(self.folder / "validate.json", work)

    def label(self, most: int) -> dict[str, Any]:
        """Label the chosen structures, ``most`` of them at most."""

        def work() -> dict[str, Any]:
            frames, failures = self._label(self.selection().chosen[:most].tolist(), part="training")
            write_labelled(self.folder / "labelled.extxyz", frames)
            return {"frames": len(frames), "failures": failures}

        return stage(self.folder / "label.json", work)

    def _label(self, indices: Sequence[int], part: str) -> tuple[list[Frame], list[dict[str, Any]]]:
        explored = self.explored()
        chosen = [explored[i] for i in indices]
        return self.place.label(chosen, part=part, iteration=self.number)

    def _trust(self, committee: Committee) -> Trust:
        """Levels as given; what is automatic, from errors on the training frames and on fresh ones of before."""
        given = self.place.config.selection.trust
        frames = read_labelled(self.folder / "training.extxyz")
        judges = self._earlier("fresh.extxyz") or frames
        auto = Trust.from_errors(committee.errors(frames), label_sizes(frames), committee.error_per_deviation(judges))
        forces = (auto.low.forces, auto.high.forces) if given.forces == "auto" else given.forces
        perp = (
            (auto.low.magnetic_perp, auto.high.magnetic_perp) if given.magnetic_perp == "auto" else given.magnetic_perp
        )
        return Trust(*(Levels(force, field) for force, field in zip(forces, perp, strict=True)))


def _compare(committee: Committee, frames: Sequence[Frame]) -> dict[str, Any]:
    """Errors of the members (mean and standard deviation over them), and errors in units of the deviations."""
    from deepspin_ase.model.checkpoint import load_checkpoint
    from deepspin_ase.training.evaluation import evaluate

    if not frames:
        return {"errors": {}, "error_per_deviation": {}}
    each = [evaluate(load_checkpoint(model)[0], frames).errors for model in committee.models]
    keys = [key for key in each[0] if key != "n_frames"]
    errors = {
        key: {"mean": float(np.mean([e[key] for e in each])), "spread": float(np.std([e[key] for e in each], ddof=1))}
        for key in keys
    }
    return {"errors": errors, "error_per_deviation": asdict(committee.error_per_deviation(frames))}
