"""One training step as one function: the loss and its gradients, compiled if that pays.

The loss contains derivatives of the energy, so its gradient differentiates the network twice.
``torch.compile`` cannot do that to a module; here ``make_fx`` writes down the whole computation, both
differentiations included, as one list of operations, and that list is compiled for each shape of batch.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from deepspin_ase.model.compiled import one_line
from deepspin_ase.model.potential import Inputs, energy_and_derivatives
from deepspin_ase.training.batches import StepInputs
from deepspin_ase.training.loss import LossWeights, Targets, training_loss
from deepspin_ase.training.preparation import Norms

logger = logging.getLogger(__name__)

StepFunction = Callable[..., "tuple[Tensor, ...]"]

MAX_SHAPES = 4
"""Shapes that are compiled; batches of any other shape run without."""

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}
"""Largest relative difference between compiled and plain results."""


@dataclass(frozen=True)
class StepSetup:
    """What does not change from step to step."""

    cutoff: float
    weights: LossWeights
    norms: Norms
    scaled: bool = False
    """Whether the last parameter is not one of the network, but the log of the magnetic-force scales."""


class StepRunner:
    """Loss, its terms, and the gradients with respect to all parameters.

    Parameters
    ----------
    network
        The network; its parameters are arguments of each call.
    setup
        Loss and norms.
    compiled
        Whether to compile. Failures to do so cost speed only.
    """

    def __init__(self, network: nn.Module, setup: StepSetup, *, compiled: bool) -> None:
        self._network, self._setup = network, setup
        self._names = [name for name, _ in network.named_parameters()]
        self._compile = compiled
        self._ready: dict[tuple[int, ...], StepFunction] = {}
        self.compile_seconds = 0.0

    @property
    def compiled_shapes(self) -> int:
        """Number of batch shapes for which compiled code is in use."""
        return len(self._ready)

    def __call__(self, params: Sequence[Tensor], step: StepInputs) -> tuple[Tensor, ...]:
        """Loss (), terms (5,), one gradient per parameter."""
        flat = (*step.inputs, *step.targets)
        values = [p.detach() for p in params]
        key = (*step.inputs.shift.shape[:2], len(step.inputs.volume))
        function = self._ready.get(key)
        if function is None and self._compile:
            function = self._build(key, values, flat)
        if function is None:
            return self._plain(values, *flat)
        with torch.no_grad():
            return function(values, *flat)

    def _plain(self, params: Sequence[Tensor], *flat: Tensor) -> tuple[Tensor, ...]:
        """The computation itself."""
        with torch.enable_grad():
            leaves = [p.detach().requires_grad_(True) for p in params]
            weights = leaves[:-1] if self._setup.scaled else leaves
            log_scale = leaves[-1] if self._setup.scaled else None
            named = dict(zip(self._names, weights, strict=True))
            inputs, targets = Inputs(*flat[: len(Inputs._fields)]), Targets(*flat[len(Inputs._fields) :])
            network = _Bound(self._network, named)
            out = energy_and_derivatives(network, inputs, cutoff=self._setup.cutoff, create_graph=True)
            loss, terms = training_loss(out, inputs.batch, targets, self._setup.weights, self._setup.norms, log_scale)
            gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        filled = [torch.zeros_like(p) if g is None else g for p, g in zip(leaves, gradients, strict=True)]
        return (loss.detach(), terms, *filled)

    def _build(self, key: tuple[int, ...], params: list[Tensor], flat: tuple[Tensor, ...]) -> StepFunction | None:
        """Compiled function for one shape, or None; after a failure nothing more is tried."""
        if len(self._ready) >= MAX_SHAPES:
            logger.info("batches of more than %d shapes: %s runs without compilation", MAX_SHAPES, key)
            self._compile = False
            return None
        started = time.perf_counter()
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the compiler's own
                function = _compile(self._plain, params, flat)
                result = function(params, *flat)
        except Exception as problem:  # the compiler's errors have no common base class
            logger.warning("training steps are not compiled: %s", one_line(problem))
            self._compile = False
            return None
        finally:
            self.compile_seconds += time.perf_counter() - started
        difference = _difference(result, self._plain(params, *flat))
        if not difference <= TOLERANCE[params[0].dtype]:
            logger.warning("the compiled training step differs by %.1e from the plain one and is not used", difference)
            self._compile = False
            return None
        logger.info("compiled the training step for %s in %.0f s", key, time.perf_counter() - started)
        self._ready[key] = function
        return function


class _Bound(nn.Module):
    """The network with given parameters, as a function."""

    def __init__(self, network: nn.Module, named: dict[str, Tensor]) -> None:
        super().__init__()
        self._call = partial(functional_call, network, named)

    def forward(self, *args: Tensor) -> Tensor:
        """Energies of atoms."""
        return self._call(args)


class LossAndGradients(torch.autograd.Function):
    """Makes a :class:`StepRunner` look like an ordinary loss: ``backward`` and all of its hooks work."""

    @staticmethod
    def forward(ctx: Any, runner: StepRunner, step: StepInputs, *params: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and terms; the gradients are kept for ``backward``."""
        loss, terms, *gradients = runner(params, step)
        ctx.gradients = gradients
        ctx.mark_non_differentiable(terms)
        return loss.clone(), terms.clone()

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Kept gradients times the incoming one."""
        return (None, None, *torch._foreach_mul(ctx.gradients, grad_loss))


def _compile(function: StepFunction, params: list[Tensor], flat: tuple[Tensor, ...]) -> StepFunction:
    from torch.fx.experimental.proxy_tensor import make_fx

    traced = make_fx(function)(params, *flat)
    return torch.compile(traced, fullgraph=True, dynamic=False)


def _difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Norm of the difference over the norm, the larger of that of the loss and that of all gradients."""
    loss = float((found[0] - expected[0]).abs() / expected[0].abs().clamp(min=1e-30))
    delta = sum(float((a - b).double().square().sum()) for a, b in zip(found[2:], expected[2:], strict=True))
    norm = sum(float(b.double().square().sum()) for b in expected[2:])
    ratio = (delta / max(norm, 1e-60)) ** 0.5
    return max(loss, ratio) if loss == loss and ratio == ratio else float("nan")
