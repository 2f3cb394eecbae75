"""The loop: train, explore, select, validate, label, and again until it is enough; it may be killed at any moment."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepspin_ase.active_learning.config import LearningConfig
from deepspin_ase.active_learning.iteration import START, Iteration, Workplace, start
from deepspin_ase.active_learning.report import write_iteration_report, write_run_report
from deepspin_ase.active_learning.storage import read_labelled, replace_file, write_json, write_labelled, write_text
from deepspin_ase.data import read_frames
from deepspin_ase.errors import InputError

logger = logging.getLogger(__name__)

_CONFIG, _RESULT = "config.yaml", "result.json"
_MAY_CHANGE = ("stop", "output")


@dataclass(frozen=True)
class LearningResult:
    """What a run leaves behind.

    Parameters
    ----------
    models
        Model files of the last committee, for ``DeepSpin([...])``.
    frames
        File with all labelled frames; ``info["part"]`` says what each was used for.
    output
        Directory of the run.
    reason
        Why it stopped.
    labels
        How many labels were asked for, failed ones included.
    iterations
        Reports of the iterations, as in their ``report.json``.
    """

    models: tuple[Path, ...]
    frames: Path
    output: Path
    reason: str
    labels: int
    iterations: tuple[dict[str, Any], ...]


def learn(
    config: LearningConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    executor: Executor | None = None,
    say: Callable[[str], None] = logger.info,
) -> LearningResult:
    """Active learning from a file of options.

    Parameters
    ----------
    config
        Options; see ``docs/active_learning.md``.
    resume
        Go on with the run in the output directory; nothing that was finished is done again.
    overwrite
        Start anew in a directory that holds a run; labels that fit are used again.
    executor
        Where labels are calculated, e.g. ``dask.distributed.Client(...).get_executor()``; default: ``workers``
        processes on this machine.
    say
        Gets lines about the progress.

    Raises
    ------
    InputError
        Options, structures or data that cannot be used, an output directory that is taken, labels that all fail.
    """
    config = config.resolved(Path.cwd())
    output = Path(config.output or "runs/learn")
    _prepare(output, config, resume=resume, overwrite=overwrite)
    workers = config.labeling.workers
    local = (
        ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
        if executor is None and workers > 1
        else nullcontext(executor)
    )
    try:
        with local as pool:
            return _iterate(Workplace.build(config, output, pool, say))
    except KeyboardInterrupt:
        say("interrupted; nothing that was finished is lost: go on with --resume")
        raise


def _iterate(place: Workplace) -> LearningResult:
    config = place.config
    first = start(place)
    labels = first["frames"] + len(first["failures"])
    reports: list[dict[str, Any]] = []
    number, reason = 0, ""
    while not reason:
        turn = Iteration(place, number)
        report: dict[str, Any] = {"iteration": number, "train": turn.train(), "explore": turn.explore()}
        report |= {"select": turn.select(), "validate": turn.validate()}
        labels += report["validate"]["frames"] + len(report["validate"]["failures"])
        left = _labels_left(config, labels)
        reason = _reason_to_stop(config, report, left)
        if not reason:
            report["label"] = turn.label(left)
            labels += report["label"]["frames"] + len(report["label"]["failures"])
        report |= {"labels": labels, "stop": reason}
        reports.append(report)
        write_iteration_report(turn.folder, report, turn.selection())
        write_run_report(place.output, reports)
        number += 1
    place.say(f"stopped after iteration {number - 1}: {reason}")
    return _finish(place, Iteration(place, number - 1), tuple(reports), reason, labels)


def _labels_left(config: LearningConfig, labels: int) -> int:
    """Labels for training that an iteration may ask for; those to validate the next one on are put aside."""
    options, most = config.selection, config.stop.labels
    return options.labels if most is None else min(options.labels, most - labels - options.validation)


def _reason_to_stop(config: LearningConfig, report: dict[str, Any], labels_left: int) -> str:
    """Why this iteration is the last one; empty if it is not."""
    stop, fractions = config.stop, report["select"]["fractions"]
    errors = {key: entry["mean"] for key, entry in report["validate"]["errors"].items()}
    reached = all(key in errors and errors[key] <= limit for key, limit in stop.errors.items())
    if fractions["accurate"] >= stop.accurate and reached:
        limits = ", and the errors on fresh frames are below their limits" if stop.errors else ""
        return f"{fractions['accurate']:.1%} of the explored structures are accurate{limits}"
    if report["iteration"] + 1 >= stop.iterations:
        return f"{stop.iterations} iterations are done"
    if labels_left <= 0:
        return f"the budget of {stop.labels} labels is used up"
    if report["select"]["chosen"] == 0:
        return "there are no candidates: what is not accurate is out of reach"
    return ""


def _finish(
    place: Workplace, last: Iteration, reports: tuple[dict[str, Any], ...], reason: str, labels: int
) -> LearningResult:
    """Collect models and frames at the top of the directory."""
    models = []
    for number, model in enumerate(last.models):
        models.append(place.output / "models" / f"member-{number}.pt")
        replace_file(models[-1], lambda partial, source=model: shutil.copyfile(source, partial))  # type: ignore[misc]
    frames = [frame for path in place.config.data for frame in read_frames(path)]
    if place.config.initial:
        frames += read_labelled(place.output / START / "labelled.extxyz")
    for number in range(last.number + 1):
        folder = Iteration(place, number).folder
        names = ("fresh.extxyz", "labelled.extxyz") if number < last.number else ("fresh.extxyz",)
        frames += [frame for name in names for frame in read_labelled(folder / name)]
    write_labelled(place.output / "frames.extxyz", frames)
    write_json(place.output / _RESULT, {"reason": reason, "labels": labels, "models": [str(m) for m in models]})
    return LearningResult(tuple(models), place.output / "frames.extxyz", place.output, reason, labels, reports)


def _prepare(output: Path, config: LearningConfig, *, resume: bool, overwrite: bool) -> None:
    """Directory for a new run, or the one of a run that goes on with the same options."""
    copy = output / _CONFIG
    if copy.is_file() and not resume:
        if not overwrite:
            raise InputError(
                f"{output} holds a run; continue it with --resume, replace it with --overwrite, or give another output"
            )
        for folder in (output / START, output / "models", *output.glob("iteration-*")):
            shutil.rmtree(folder, ignore_errors=True)
    elif copy.is_file():
        before = LearningConfig.from_file(copy)
        changed = [
            name
            for name, value in config.model_dump(mode="json").items()
            if name not in _MAY_CHANGE
            and _essential(name, value) != _essential(name, before.model_dump(mode="json")[name])
        ]
        if changed:
            raise InputError(
                f"the run in {output} was started with another {', '.join(changed)} (see {copy}); only stop and "
                "labeling.workers may change on --resume"
            )
    (output / _RESULT).unlink(missing_ok=True)
    write_text(copy, config.to_yaml())


def _essential(name: str, value: Any) -> Any:
    return {k: v for k, v in value.items() if k != "workers"} if name == "labeling" else value
