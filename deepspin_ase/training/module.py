"""The LightningModule: one optimisation step, one validation, and what a checkpoint must remember."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from deepspin_ase.errors import DeepSpinError
from deepspin_ase.model.potential import Potential
from deepspin_ase.training.batches import step_inputs
from deepspin_ase.training.compiled_step import LossAndGradients, StepRunner, StepSetup
from deepspin_ase.training.config import OptimizerSection
from deepspin_ase.training.loss import TERMS, LossWeights
from deepspin_ase.training.metrics import ErrorSums, metric_key
from deepspin_ase.training.preparation import Norms

logger = logging.getLogger(__name__)

BAR = {
    "energy": "E",
    "force": "F",
    "magnetic_force_perp": "F⊥",
    "magnetic_force_par": "F∥",
}
"""Quantities in the progress bar."""


class TrainingDivergedError(DeepSpinError):
    """The loss is no longer a number."""


class TrainingModule(pl.LightningModule):
    """Trains a potential.

    Parameters
    ----------
    potential
        Model.
    weights, norms
        Of the loss.
    optimizer
        Options.
    slots
        Neighbour slots per atom.
    size_classes
        Atoms that each size of frame is padded to.
    scaled_datasets
        For each data set, whether its magnetic-force labels get a learnable factor.
    compiled
        Whether to compile the training step.
    """

    def __init__(
        self,
        potential: Potential,
        *,
        weights: LossWeights,
        norms: Norms,
        optimizer: OptimizerSection,
        slots: int,
        size_classes: dict[int, int],
        scaled_datasets: tuple[bool, ...] = (False,),
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.potential = potential
        self._weights, self._norms, self._options = weights, norms, optimizer
        self._slots, self._classes = slots, size_classes
        self._datasets = len(scaled_datasets)
        self._scaled = torch.tensor(scaled_datasets)
        self.log_scale = nn.Parameter(torch.zeros(len(scaled_datasets))) if any(scaled_datasets) else None
        self._compiled = compiled
        self._runner: StepRunner | None = None
        self._loss_sum: Tensor | None = None
        self._steps = 0
        self._sums: list[ErrorSums] = []

    @property
    def compile_seconds(self) -> float:
        """Time spent on compilation so far."""
        return self._runner.compile_seconds if self._runner is not None else 0.0

    @property
    def compiled_shapes(self) -> int:
        """Number of batch shapes that run compiled."""
        return self._runner.compiled_shapes if self._runner is not None else 0

    def magnetic_force_scales(self) -> list[float]:
        """Factor between magnetic-force labels and -∂E/∂m for each data set; 1 if not learnt."""
        return [] if self.log_scale is None else self.log_scale.detach().exp().tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; the learning rate is set by :class:`~deepspin_ase.training.callbacks.Budget`."""
        parameters = list(self.parameters())
        return torch.optim.AdamW(
            parameters,
            lr=self._options.learning_rate,
            weight_decay=self._options.weight_decay,
            betas=(0.9, 0.99),
            fused=all(p.device.type in ("cpu", "cuda") for p in parameters),
        )

    def on_fit_start(self) -> None:
        """Make the function that computes loss and gradients."""
        setup = StepSetup(self.potential.config.cutoff, self._weights, self._norms, self.log_scale is not None)
        self._runner = StepRunner(self.potential.network, setup, compiled=self._compiled)

    def on_train_epoch_start(self) -> None:
        """Start new sums."""
        self._loss_sum, self._steps = None, 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a batch."""
        assert self._runner is not None
        padded = sum(self._classes[int(n)] for n in torch.diff(batch.ptr))
        step = step_inputs(self.potential, batch, slots=self._slots, padded=padded)
        params = list(self.potential.network.parameters())
        if self.log_scale is not None:
            params.append(self.log_scale)
        loss, terms = LossAndGradients.apply(self._runner, step, *params)
        both = torch.cat([loss.detach().reshape(1), terms])
        self._loss_sum = both if self._loss_sum is None else self._loss_sum + both
        self._steps += 1
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Keep the scale of data sets that have none at one."""
        if self.log_scale is not None and self.log_scale.grad is not None:
            self.log_scale.grad *= self._scaled.to(self.log_scale.grad)

    def on_train_epoch_end(self) -> None:
        """Log mean losses; stop if they are not numbers.

        Raises
        ------
        TrainingDivergedError
            If the loss is NaN or infinite.
        """
        if self._loss_sum is None:
            return
        means = (self._loss_sum / self._steps).tolist()
        if not all(math.isfinite(value) for value in means):
            raise TrainingDivergedError(
                f"the loss became {means[0]} in epoch {self.current_epoch}; lower optimizer.learning_rate, "
                "or check the data with `deepspin inspect`"
            )
        names = ("loss", *TERMS)
        self.log_dict(
            {f"train/{name}": value for name, value in zip(names, means, strict=True)},
            sync_dist=True,
            batch_size=1,
        )
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"], batch_size=1)

    def on_validation_epoch_start(self) -> None:
        """Start new sums, one for each data set."""
        self._sums = [ErrorSums() for _ in range(self._datasets)]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Errors of a batch of one data set, whose missing labels are NaN."""
        with torch.enable_grad():
            out = self.potential(batch)
        labels = {name: batch[name] for name in ("energy", "forces", "stress", "magnetic_forces")}
        labels["moments"] = batch.moments
        predicted = {name: value.detach() for name, value in out.items()}
        network = self.potential.network
        magnetic = network.magnetic[network.kind_of[batch.z]]
        sums = self._sums[int(batch.dataset[0])]
        sums.add(predicted, labels, magnetic=magnetic, atoms=torch.diff(batch.ptr))

    def on_validation_epoch_end(self) -> None:
        """Add up over processes and log physical errors: of all data sets together, and their score."""
        if self.trainer.world_size > 1:
            for sums in self._sums:
                both = torch.cat([sums.sums.reshape(-1), sums.sums.new_tensor([float(sums.frames)])])
                both = self.trainer.strategy.reduce(both.to(self.device), reduce_op="sum").cpu()
                sums.sums, sums.frames = both[:-1].reshape(-1, 3), int(both[-1])
        total = ErrorSums()
        for sums in self._sums:
            total += sums
        shown = {metric_key(name, "rmse") for name in BAR}
        for key, value in total.as_dict().items():
            if key != "n_frames":
                self.log(f"val/{key}", value, prog_bar=key in shown, batch_size=1)
        self.log("val/score", self.score([sums.as_dict() for sums in self._sums]), batch_size=1)

    def score(self, errors: Sequence[dict[str, float]]) -> float:
        """One number to compare two states by.

        For each data set the weighted mean squares of the normalised errors; of these the geometric mean over data
        sets, so that a change by one per cent counts the same in a set of small errors as in one of large errors.

        Parameters
        ----------
        errors
            Of :meth:`~deepspin_ase.training.metrics.ErrorSums.as_dict`, one per data set.
        """
        parts = (
            ("energy", self._weights.energy, self._norms.energy, 1.0),
            ("force", self._weights.forces, self._norms.forces, 1.0),
            ("stress", self._weights.stress, self._norms.stress, 1.0),
            ("magnetic_force_perp", self._weights.magnetic_perp, self._norms.magnetic, 1.0),
            ("magnetic_force_par", self._weights.magnetic_par, self._norms.magnetic, 1.0 / 3.0),
        )
        logarithms = []
        for one in errors:
            found = [(one.get(metric_key(name, "rmse")), weight * share, norm) for name, weight, norm, share in parts]
            total = sum(weight * (value / 1e3 / norm) ** 2 for value, weight, norm in found if value is not None)
            if total > 0:
                logarithms.append(math.log(total))
        return math.exp(sum(logarithms) / len(logarithms)) if logarithms else 0.0
