"""Training of the committee: one run per member, each resumable, warm starts from the iteration before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from deepspin_ase.active_learning.config import CommitteeSection
from deepspin_ase.active_learning.storage import read_json, write_json
from deepspin_ase.training.config import DataSection, TrainingConfig
from deepspin_ase.training.run import train

_DONE = "trained.json"


def member_config(
    section: CommitteeSection,
    member: int,
    output: Path,
    *,
    training: Path,
    validation: Path | None,
    start: Path | None,
) -> TrainingConfig:
    """Training file of one member.

    Parameters
    ----------
    section
        Options of the committee.
    member
        Its number; it sets the seed.
    output
        Directory of its run.
    training, validation
        Files of frames; without validation the weights of the end are taken.
    start
        Model to continue from; None trains from random weights.
    """
    runtime = section.runtime.model_copy(update={"output": str(output), "seed": section.runtime.seed + member})
    data = DataSection(path=str(training), name="training", validation=0.0 if validation is None else str(validation))
    if start is None:
        return TrainingConfig(
            model=section.model, data=[data], loss=section.loss, optimizer=section.optimizer, runtime=runtime
        )
    return TrainingConfig(
        data=[data],
        loss=section.loss,
        optimizer=section.continued or section.optimizer,
        runtime=runtime,
        init_from=str(start),
    )


def train_committee(
    section: CommitteeSection,
    folder: Path,
    *,
    training: Path,
    validation: Path | None,
    before: Sequence[Path],
    say: Callable[[str], None],
) -> list[Path]:
    """Train all members that are not trained yet.

    Parameters
    ----------
    section
        Options of the committee.
    folder
        Directory of the iteration.
    training, validation
        Files of frames.
    before
        Models of the iteration before, or none.
    say
        Gets lines about the progress.

    Returns
    -------
    list of Path
        Model files.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C; the checkpoint of the member at work is kept, and the next call goes on from it.
    """
    models = []
    for member in range(section.members):
        output = folder / f"member-{member}"
        models.append(output / "model.pt")
        if (output / _DONE).is_file():
            continue
        start = before[member] if before and section.warm_start else None
        say(f"training member {member + 1} of {section.members}{' from its last model' if start else ''}")
        config = member_config(section, member, output, training=training, validation=validation, start=start)
        resume = (output / "checkpoints" / "last.ckpt").is_file()
        result = train(config, resume=resume, say=say)
        if result.interrupted:
            raise KeyboardInterrupt
        write_json(output / _DONE, {"training": result.card["training"]})
    return models


def training_minutes(folder: Path) -> float:
    """CPU minutes that the finished members of an iteration took."""
    return float(sum(read_json(file)["training"]["cpu_minutes"] for file in folder.glob(f"member-*/{_DONE}")))
