"""What the checks say: an error that names the numbers, and a report of a whole run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Status = Literal["passed", "failed", "error", "skipped"]


class ConformanceError(AssertionError):
    """A calculator breaks a rule of the conventions.

    Attributes
    ----------
    quantity
        ASE property key of what is wrong, or a description.
    atom
        Index of the worst atom, or None for quantities of the whole structure.
    got, expected
        The two numbers.
    tolerance
        Largest difference allowed.
    """

    def __init__(
        self,
        message: str,
        *,
        quantity: str,
        atom: int | None = None,
        got: float | None = None,
        expected: float | None = None,
        tolerance: float | None = None,
    ) -> None:
        super().__init__(message)
        self.quantity, self.atom = quantity, atom
        self.got, self.expected, self.tolerance = got, expected, tolerance


@dataclass(frozen=True)
class CheckResult:
    """Outcome of one check.

    ``deviation`` is the largest difference divided by the tolerance (passed and failed checks); ``message``
    says what is wrong or why the check was skipped; "error" means that the calculator itself stopped with an
    exception.
    """

    name: str
    status: Status
    deviation: float | None = None
    message: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class ConformanceReport:
    """Outcome of all checks on one calculator; ``print`` shows a table."""

    calculator: str
    formula: str
    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed or stopped with an error."""
        return not self.failures

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """Checks that failed or stopped with an error."""
        return tuple(result for result in self.results if result.status in ("failed", "error"))

    def __getitem__(self, name: str) -> CheckResult:
        for result in self.results:
            if result.name == name:
                return result
        raise KeyError(f"no check {name!r}; this run has {', '.join(r.name for r in self.results)}")

    def __iter__(self) -> Iterator[CheckResult]:
        return iter(self.results)

    def __str__(self) -> str:
        lines = [
            f"{self.calculator} on {self.formula}",
            f"{'check':<24}{'status':<10}{'deviation/tolerance':>20}{'seconds':>10}",
        ]
        for r in self.results:
            number = "" if r.deviation is None else f"{r.deviation:.2e}"
            lines.append(f"{r.name:<24}{r.status:<10}{number:>20}{r.seconds:>10.2f}")
        lines += [f"{r.name}: {r.message}" for r in self.results if r.message]
        return "\n".join(lines)

    def raise_if_failed(self) -> None:
        """Raise one error that lists everything that is wrong.

        Raises
        ------
        ConformanceError
            If a check failed or stopped with an error.
        """
        if self.failures:
            listed = "\n".join(f"  {r.name} ({r.status}): {r.message}" for r in self.failures)
            raise ConformanceError(
                f"{self.calculator} fails {len(self.failures)} of {len(self.results)} checks:\n{listed}",
                quantity=", ".join(r.name for r in self.failures),
            )
