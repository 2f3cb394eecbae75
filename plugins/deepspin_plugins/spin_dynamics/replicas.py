"""Several dynamics side by side, one batch of structures per evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, all_changes
from ase.md.md import MolecularDynamics

from deepspin_ase.errors import InputError
from deepspin_ase.magnetic_calculator import MagneticCalculator
from deepspin_ase.progress import track
from deepspin_plugins.spin_dynamics.zeeman import ZeemanField


class ReplicaSpinDynamics:
    """Advance M drivers together; a calculator with ``evaluate_many`` sees all their structures in one batch.

    The replicas are ordinary drivers (SpinDynamics, SpinLatticeDynamics, CartesianMomentDynamics, ASE's own), each with
    its own structure, temperature, seed, observers, log and checkpoints. Nothing passes between them: each moves as it
    would alone, up to the round-off of a batched evaluation.

    Parameters
    ----------
    replicas
        Drivers. If they share one calculator object that has ``evaluate_many``, every structure gets a seat in front of
        it (``atoms.calc``) that keeps its own results; a ``ZeemanField`` around it stays, one for each replica.
        Other calculators are left alone, and the drivers make their steps in turn; give each a calculator of its own.

    Attributes
    ----------
    replicas
        The drivers.
    batches
        How many batches were evaluated.

    Raises
    ------
    InputError
        No replicas, or two of them move the same structure.

    Examples
    --------
    >>> calc, replicas = DeepSpin("nio"), []  # doctest: +SKIP
    >>> for seed, temperature in enumerate((100, 200, 300)):  # doctest: +SKIP
    ...     copy = atoms.copy()
    ...     copy.calc = calc
    ...     replicas.append(SpinDynamics(copy, 0.5 * fs, damping=0.1, temperature=temperature, rng=seed))
    >>> ReplicaSpinDynamics(replicas).run(1000)  # doctest: +SKIP
    """

    def __init__(self, replicas: Sequence[MolecularDynamics]) -> None:
        self.replicas = list(replicas)
        if not self.replicas:
            raise InputError("there are no replicas; give at least one driver.")
        if len({id(replica.atoms) for replica in self.replicas}) < len(self.replicas):
            raise InputError("two replicas move the same structure; give each its own: atoms.copy().")
        self.batches = 0
        shared = _innermost(self.replicas[0].atoms.calc)
        together = all(_innermost(replica.atoms.calc) is shared for replica in self.replicas)
        self._calculator: Any = shared if together and hasattr(shared, "evaluate_many") else None
        self._seats: list[_Seat] = []
        if self._calculator is not None:
            for replica in self.replicas:
                seat = _Seat(self._calculator)
                replica.atoms.calc = _seated(replica.atoms.calc, seat)
                self._seats.append(seat)

    def run(self, steps: int = 50) -> None:
        """Make steps with every replica, with a progress bar on a terminal.

        Raises
        ------
        Exception
            The first error of a replica. The others are stopped; they, too, stand at their last whole step.
        """
        if self._calculator is None:
            runs = [replica.irun(steps) for replica in self.replicas]
            for _ in track(zip(*runs, strict=True), "replicas", total=steps + 1):
                pass
            return
        lanes = [_Lane(lambda replica=replica: _exhaust(replica, steps)) for replica in self.replicas]  # type: ignore[misc]
        for seat, lane in zip(self._seats, lanes, strict=True):
            seat.lane = lane
        first, last = self.replicas[0], self.replicas[0].nsteps + steps
        progress = track(range(first.nsteps, last + 1), "replicas")
        try:
            for lane in lanes:
                lane.go()
            shown = next(progress)
            while waiting := [lane for lane in lanes if lane.request is not None]:
                self.batches += 1
                results = self._calculator.evaluate_many([lane.request for lane in waiting])
                for lane, result in zip(waiting, results, strict=True):
                    lane.go(result)
                while shown < first.nsteps:
                    shown = next(progress)
            next(progress, None)
        finally:
            for seat, lane in zip(self._seats, lanes, strict=True):
                lane.stop()
                seat.lane = None


class _Seat(MagneticCalculator):
    """Calculator of one replica: hands its structure to the batch and keeps the results."""

    def __init__(self, calculator: Any) -> None:
        super().__init__()
        self.implemented_properties = list(calculator.implemented_properties)
        self.lane: _Lane | None = None
        self._calculator = calculator

    def __getattr__(self, name: str) -> Any:
        """What the calculator has beside results (``get_hessian``, ``config``, ...)."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._calculator, name)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        super().calculate(atoms, list(properties), list(system_changes))
        if self.atoms is None:
            raise InputError("the calculator needs a structure: atoms.calc = calc")
        if self.lane is not None:
            results = self.lane.ask(self.atoms)
        else:
            (results,) = self._calculator.evaluate_many([self.atoms])
        self.results = {key: np.array(value) if np.ndim(value) else value for key, value in results.items()}


class _Stopped(BaseException):
    """Ends a lane at its next request."""


class _Lane:
    """Work that pauses whenever it asks for something: a coroutine out of a thread, never two of them at a time."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.request: Atoms | None = None
        """What the lane waits for; None before the start and after the end."""
        self._answers: SimpleQueue[Any] = SimpleQueue()
        self._requests: SimpleQueue[Atoms | BaseException | None] = SimpleQueue()
        self._work = work
        self._running = False
        self._thread: Thread | None = None

    def go(self, answer: Any = None) -> None:
        """Let the work go on until its next request or its end; its errors are raised here."""
        if self._thread is None:
            self._thread = Thread(target=self._main, daemon=True)
            self._thread.start()
        else:
            self._answers.put(answer)
        self._running = True
        self._receive()

    def stop(self) -> None:
        """End the work at its next request, if it has not ended yet."""
        if self._thread is None:
            return
        while self._running or self.request is not None:
            try:
                if self._running:
                    self._receive()
                else:
                    self.go(_Stopped())
            except Exception:
                pass
        self._thread.join()

    def ask(self, request: Atoms) -> Any:
        """Called by the work: wait for the answer to a request."""
        self._requests.put(request)
        answer = self._answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _receive(self) -> None:
        message = self._requests.get()
        self._running, self.request = False, None
        if isinstance(message, BaseException):
            raise message
        self.request = message

    def _main(self) -> None:
        try:
            self._work()
        except _Stopped:
            self._requests.put(None)
        except BaseException as error:
            self._requests.put(error)
        else:
            self._requests.put(None)


def _exhaust(replica: MolecularDynamics, steps: int) -> None:
    for _ in replica.irun(steps):
        pass


def _innermost(calculator: BaseCalculator | None) -> BaseCalculator | None:
    """The calculator inside wrappers for fields."""
    while isinstance(calculator, ZeemanField):
        calculator = calculator.calculator
    return calculator


def _seated(calculator: BaseCalculator, seat: _Seat) -> BaseCalculator:
    """The calculator with a seat in place of what is inside its wrappers."""
    if not isinstance(calculator, ZeemanField):
        return seat
    wrapper = copy(calculator)
    wrapper.calculator = _seated(calculator.calculator, seat)
    wrapper.atoms = None
    wrapper.results = {}
    return wrapper
