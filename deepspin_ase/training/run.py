"""A whole training run: assemble, fit, resume, choose the weights, report, save."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch_geometric.loader import DataLoader

from deepspin_ase.errors import InputError
from deepspin_ase.model.checkpoint import save_checkpoint
from deepspin_ase.model.potential import Potential
from deepspin_ase.training.assembly import Assembly, assemble, set_graphs, training_module
from deepspin_ase.training.batches import ShapeBatchSampler, batches_of_one_set
from deepspin_ase.training.callbacks import Budget, ProgressDisplay, RampedEMA
from deepspin_ase.training.config import TrainingConfig
from deepspin_ase.training.evaluation import Evaluation, evaluate_graphs
from deepspin_ase.training.module import TrainingModule
from deepspin_ase.training.report import SetErrors, make_card, write_report

logger = logging.getLogger(__name__)

LAST, BEST = "last.ckpt", "best.ckpt"
_VALIDATION_SHARE = 0.05  # of the time of an epoch
_VALIDATION_COST = 0.6  # of a validation frame in training frames


@dataclass(frozen=True)
class TrainingResult:
    """What a run leaves behind.

    ``model`` is the file to give to the calculator, ``output`` the directory with report, logs and
    checkpoints, ``errors`` one entry per data set and part, ``interrupted`` whether Ctrl-C ended it.
    """

    model: Path
    output: Path
    potential: Potential
    errors: tuple[SetErrors, ...]
    card: dict[str, Any]
    interrupted: bool


def train(
    config: TrainingConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    say: Callable[[str], None] = logger.info,
) -> TrainingResult:
    """Train a model.

    Parameters
    ----------
    config
        Options; see ``docs/training.md``.
    resume
        Continue from the last checkpoint in the output directory, if there is one.
    overwrite
        Start anew in an output directory that holds a run.
    say
        Gets lines about the progress.

    Raises
    ------
    InputError
        Options or data that cannot be used, or an output directory that is taken.
    TrainingDivergedError
        If the loss becomes NaN.
    """
    config = config.resolved(Path.cwd())
    output = Path(config.runtime.output or "runs/model")
    checkpoint = _starting_point(output, config, resume=resume, overwrite=overwrite, say=say)
    with _threads(config.runtime.threads), _quiet():
        assembly = assemble(config)
        _announce(assembly, say)
        module = training_module(assembly, config)
        budget = Budget(config.optimizer)
        trainer = _trainer(config, output, module, assembly, budget, say)
        train_loader = _training_loader(config, assembly, trainer)
        with _stop_on_interrupt(budget, say):
            trainer.fit(module, train_loader, _validation_loader(config, assembly, trainer), ckpt_path=checkpoint)
        if not trainer.is_global_zero:
            return TrainingResult(output / "model.pt", output, assembly.potential, (), {}, budget.stopped_by_user)
        potential = assembly.potential.cpu()
        _choose_weights(module, assembly, output / "checkpoints")
        errors = tuple(_errors(assembly, potential))
    card = make_card(config, assembly.splits, errors, potential, training_facts(module, trainer, budget, assembly))
    save_checkpoint(output / "model.pt", potential, card)
    write_report(output, card, errors)
    return TrainingResult(output / "model.pt", output, potential, errors, card, budget.stopped_by_user)


def training_facts(module: TrainingModule, trainer: pl.Trainer, budget: Budget, assembly: Assembly) -> dict[str, Any]:
    """Numbers about the run itself."""
    return {
        "epochs": int(trainer.current_epoch),
        "steps": int(trainer.global_step),
        "minutes": round(budget.seconds("wall") / 60, 3),
        "cpu_minutes": round(budget.seconds("cpu") / 60, 3),
        "compiled": module.compiled_shapes > 0,
        "compile_minutes": round(module.compile_seconds / 60, 3),
        "parameters": sum(p.numel() for p in assembly.potential.parameters()),
        "magnetic_force_scales": module.magnetic_force_scales(),
        "interrupted": budget.stopped_by_user,
    }


def _starting_point(
    output: Path, config: TrainingConfig, *, resume: bool, overwrite: bool, say: Callable[[str], None]
) -> Path | None:
    """Checkpoint to continue from; the directory holds a copy of the configuration afterwards."""
    last, copy = output / "checkpoints" / LAST, output / "config.yaml"
    if int(os.environ.get("LOCAL_RANK", "0")) > 0 or int(os.environ.get("RANK", "0")) > 0:
        return last if resume and last.is_file() else None
    if last.is_file() and not resume:
        if not overwrite:
            raise InputError(
                f"{output} holds a training run; continue it with --resume, replace it with --overwrite, "
                "or set runtime.output to another directory"
            )
        for name in (LAST, BEST):
            (output / "checkpoints" / name).unlink(missing_ok=True)
        for log in output.glob("logs/*/metrics.csv"):
            log.unlink()
    if last.is_file():
        before = TrainingConfig.from_file(copy) if copy.is_file() else config
        for section in ("model", "data", "loss"):
            if getattr(before, section) != getattr(config, section):
                raise InputError(
                    f"the run in {output} was started with another {section} section (see {copy}); "
                    "only optimizer and runtime may change on --resume"
                )
        say(f"resuming from {last}")
    elif resume:
        say(f"no checkpoint in {output} yet: starting from the beginning")
    output.mkdir(parents=True, exist_ok=True)
    copy.write_text(config.to_yaml(), encoding="utf-8")
    return last if last.is_file() else None


def _announce(assembly: Assembly, say: Callable[[str], None]) -> None:
    for split in assembly.splits:
        say(f"{split.name}: {len(split.training)} frames to train on, {len(split.validation)} to validate")
    config = assembly.potential.config
    parameters = sum(p.numel() for p in assembly.potential.parameters())
    say(
        f"model: {parameters} parameters, {config.channels} channels, {config.layers} layers, "
        f"{config.cutoff} Å, {config.mean_neighbours:.0f} neighbours"
    )


def _trainer(
    config: TrainingConfig,
    output: Path,
    module: TrainingModule,
    assembly: Assembly,
    budget: Budget,
    say: Callable[[str], None],
) -> pl.Trainer:
    options, runtime = config.optimizer, config.runtime
    every = _validation_interval(config, assembly)
    callbacks: list[Callback] = [
        RampedEMA(options.ema),
        budget,
        ProgressDisplay(budget, say),
        ModelCheckpoint(
            output / "checkpoints",
            filename=Path(LAST).stem,
            save_top_k=1,
            every_n_epochs=1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        ),
    ]
    if assembly.validation:
        callbacks.append(
            ModelCheckpoint(
                output / "checkpoints",
                filename=Path(BEST).stem,
                monitor="val/score",
                save_top_k=1,
                save_on_train_epoch_end=False,
                enable_version_counter=False,
            )
        )
        if options.patience is not None:
            callbacks.append(EarlyStopping("val/score", patience=max(options.patience // every, 1)))
    loggers: list[Any] = [CSVLogger(output, name="logs", flush_logs_every_n_steps=1)]
    if importlib.util.find_spec("tensorboard") is not None:
        loggers.append(TensorBoardLogger(output, name="tensorboard"))
    processes = runtime.devices * runtime.nodes
    return pl.Trainer(
        accelerator={"auto": "auto", "cpu": "cpu", "cuda": "gpu"}[runtime.device],
        devices=runtime.devices,
        num_nodes=runtime.nodes,
        strategy="ddp" if processes > 1 else "auto",
        max_epochs=options.epochs if options.epochs is not None else -1,
        gradient_clip_val=options.clip,
        check_val_every_n_epoch=every,
        callbacks=callbacks,
        logger=loggers,
        log_every_n_steps=1,
        default_root_dir=output,
        use_distributed_sampler=False,
        inference_mode=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def _validation_interval(config: TrainingConfig, assembly: Assembly) -> int:
    """Epochs between validations; ``auto`` lets them take about 5 % of the time."""
    if config.optimizer.validate_every != "auto":
        return config.optimizer.validate_every
    cost = _VALIDATION_COST * len(assembly.validation) / len(assembly.training)
    interval = max(1, round(cost / _VALIDATION_SHARE))
    return min(interval, config.optimizer.epochs or interval)


def _training_loader(config: TrainingConfig, assembly: Assembly, trainer: pl.Trainer) -> DataLoader:
    sampler = ShapeBatchSampler(
        assembly.sizes,
        config.optimizer.batch_size,
        config.runtime.seed,
        rank=trainer.global_rank,
        world=trainer.world_size,
    )
    return DataLoader(
        assembly.training,
        batch_sampler=sampler,
        num_workers=config.runtime.workers,
        persistent_workers=config.runtime.workers > 0,
        generator=torch.Generator().manual_seed(config.runtime.seed),
    )


def _validation_loader(config: TrainingConfig, assembly: Assembly, trainer: pl.Trainer) -> DataLoader | None:
    graphs = assembly.validation
    if not graphs:
        return None
    if len(graphs) >= trainer.world_size:
        graphs = graphs[trainer.global_rank :: trainer.world_size]
    return DataLoader(
        graphs,
        batch_sampler=batches_of_one_set(graphs),
        generator=torch.Generator().manual_seed(config.runtime.seed),
    )


def _choose_weights(module: TrainingModule, assembly: Assembly, folder: Path) -> None:
    """The averaged weights of the end, or those of the best validation, whichever score better."""
    states = [
        torch.load(folder / name, map_location="cpu", weights_only=True)["state_dict"]
        for name in (LAST, BEST)
        if (folder / name).is_file() and (name == LAST or assembly.validation)
    ]
    sets = [graphs for number in range(len(assembly.splits)) if (graphs := set_graphs(assembly, number, "validation"))]
    scores = []
    for state in states:
        module.load_state_dict(state)
        if len(states) > 1:
            scores.append(module.score([evaluate_graphs(assembly.potential, graphs).errors for graphs in sets]))
    if len(states) > 1:
        module.load_state_dict(states[scores.index(min(scores))])


def _errors(assembly: Assembly, potential: Potential) -> Iterator[SetErrors]:
    """Errors of every data set, training and validation part."""
    for number, split in enumerate(assembly.splits):
        for part in ("train", "validation"):
            graphs = set_graphs(assembly, number, part)
            if graphs:
                evaluation: Evaluation = evaluate_graphs(potential, graphs)
                yield SetErrors(split.name, part, evaluation)


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Another number of threads for a while."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's advice that does not apply here."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning")
    levels = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings():
        for message in (
            ".*does not have many workers.*",
            ".*The number of training batches.*",
            ".*Checkpoint directory .* exists and is not empty.*",
            ".*was configured so validation will run.*",
            ".*have no `val_dataloader`.*",
            ".*GPU available but not used.*",
            ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
        ):
            warnings.filterwarnings("ignore", message=message)
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def _stop_on_interrupt(budget: Budget, say: Callable[[str], None]) -> Iterator[None]:
    """The first Ctrl-C ends the training after the present step, a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: FrameType | None) -> None:
        budget.stopped_by_user = True
        signal.signal(signal.SIGINT, before)
        say("stopping after this step; the model will be saved (Ctrl-C again: stop at once)")

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
