"""Integrators of Gilbert's equation on the sphere: every one second order, every one keeps |m|.

All solve de/dt = Ω(e) × e (``llg.py``) and are called in the same way,

    e = integrator.step(e, field, timestep, damping=α, noise=ξ)

with directions e (n, 3), a field (``fields.py``), the step in ASE units, the damping as a number or (n,), and a thermal
magnetic force ξ (eV/µB, (n, 3)) that is constant during the step. The same ξ enters the predictor and the corrector, so
that the noise is Stratonovich's, as physics wants it. Integrators hold no state of the dynamics.

==============  ==================================================  =========================================
symbol          meaning                                             variable
==============  ==================================================  =========================================
e, e'           directions before and after the step                ``e``, returned value
Δt              time step                                           ``timestep``, ASE units
F(e)            magnetic force -∂E/∂m at e                          ``field(e, fraction)``, eV/µB
ξ               thermal magnetic force                              ``noise``, eV/µB
α               Gilbert damping                                     ``damping``
Ω(e)            γ/(µB (1+α²)) (t × e + α t + (e·ξ) e),              ``llg.angular_velocity``,
                t = e × (F(e) + ξ)                                  rad per ASE unit of time
R(w) e          rotation of e by |w| about w                        ``llg.rotate``
C(w) e          Cayley's rotation: e' - e = w × (e + e')/2          ``llg.cayley``
m(e, e')        (e + e')/|e + e'|, on the sphere                    ``llg.normalised``
==============  ==================================================  =========================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from deepspin_ase.errors import InputError
from deepspin_plugins.spin_dynamics import llg
from deepspin_plugins.spin_dynamics.fields import SpinField

Array = NDArray[np.float64]


class ConvergenceError(RuntimeError):
    """The equations of an implicit step were not solved."""


@runtime_checkable
class SpinIntegrator(Protocol):
    """One step of the directions. ``name`` is what users write and what checkpoints hold."""

    @property
    def name(self) -> str:
        """Name of the integrator."""
        ...

    def step(
        self, e: Array, field: SpinField, timestep: float, *, damping: float | Array = 0.0, noise: Array | None = None
    ) -> Array:
        """Directions one step later, a new array (n, 3)."""
        ...


@dataclass(frozen=True)
class DepondtMertens:
    """Heun's scheme with rotations; two evaluations per step.

    Equations (symbols: table of the module)::

        p  = R(Δt Ω(e)) e
        e' = R(Δt [Ω(e) + Ω(p)] / 2) e

    Robust and the usual choice for Langevin dynamics. Without damping the energy drifts slowly, as Δt³.

    Source: Ph. Depondt and F. G. Mertens, J. Phys.: Condens. Matter 21, 336005 (2009).
    """

    name = "depondt-mertens"

    def step(
        self, e: Array, field: SpinField, timestep: float, *, damping: float | Array = 0.0, noise: Array | None = None
    ) -> Array:
        """Directions one step later; see the module for the arguments."""
        omega = _omega(e, field, 0.0, damping, noise)
        predicted = llg.rotate(e, timestep * omega)
        omega += _omega(predicted, field, 1.0, damping, noise)
        return llg.rotate(e, 0.5 * timestep * omega)


@dataclass(frozen=True)
class SemiImplicit:
    """Mentink's semi-implicit scheme B (SIB); two evaluations per step.

    Equations (symbols: table of the module)::

        p  = C(Δt Ω(e)) e
        e' = C(Δt Ω((e + p)/2)) e

    Close to the implicit midpoint rule at a fixed price, so that the energy drifts much less than with
    Depondt-Mertens; under strong noise Depondt-Mertens has the smaller error. F is evaluated at m(e, p), on the sphere,
    because calculators are asked at the given |m|.

    Source: J. H. Mentink et al., J. Phys.: Condens. Matter 22, 176001 (2010), eqs. 18-19.
    """

    name = "semi-implicit"

    def step(
        self, e: Array, field: SpinField, timestep: float, *, damping: float | Array = 0.0, noise: Array | None = None
    ) -> Array:
        """Directions one step later; see the module for the arguments."""
        predicted = llg.cayley(e, timestep * _omega(e, field, 0.0, damping, noise))
        middle = 0.5 * (e + predicted)
        force = field(llg.normalised(middle), 0.5)
        return llg.cayley(e, timestep * llg.angular_velocity(middle, force, damping, noise))


@dataclass(frozen=True)
class ImplicitMidpoint:
    """Spherical midpoint rule, solved by iteration: symplectic without damping, so that the energy does not drift.

    Equations (symbols: table of the module)::

        e' = e + Δt Ω(m) × m,      m = m(e, e')

    Each iteration turns e by C(w), w = 2 Δt Ω(m)/|e + e'|, with m and |e + e'| of the iteration before, which has
    the same fixed point and keeps |e| = 1 on the way. Σ m_i is conserved exactly where the energy allows it, and the
    step is its own inverse. Usually 5 to 10 evaluations per step.

    Source: R. I. McLachlan, K. Modin and O. Verdier, Phys. Rev. E 89, 061301 (2014).

    Parameters
    ----------
    tolerance
        Largest change of a direction in the last iteration, rad. For single-precision calculators use about 1e-6.
    max_iterations
        Iterations before a ConvergenceError.
    """

    tolerance: float = 1e-13
    max_iterations: int = 100
    name = "implicit-midpoint"

    def step(
        self, e: Array, field: SpinField, timestep: float, *, damping: float | Array = 0.0, noise: Array | None = None
    ) -> Array:
        """Directions one step later; see the module for the arguments.

        Raises
        ------
        ConvergenceError
            If the iteration does not converge; the time step is too long.
        """
        later = e
        for _ in range(self.max_iterations):
            total = e + later
            chord = np.sqrt(np.einsum("ia,ia->i", total, total))[:, None]
            scale = np.where(chord > 0.0, chord, 1.0)
            omega = _omega(total / scale, field, 0.5, damping, noise)
            turned = llg.cayley(e, 2.0 * timestep * omega / scale)
            change = float(np.abs(turned - later).max(initial=0.0))
            later = turned
            if change <= self.tolerance:
                return later
            if not np.isfinite(change):
                break
        raise ConvergenceError(
            f"the implicit midpoint step did not converge in {self.max_iterations} iterations (last change "
            f"{change:.1e} rad, tolerance {self.tolerance:.1e}). Use a shorter time step (suggest_timestep(atoms)); "
            "for a calculator in single precision, ImplicitMidpoint(tolerance=1e-6)."
        )


@dataclass(frozen=True)
class Heun:
    """Heun's scheme with both stages normalised, for reference; two evaluations per step.

    Equations (symbols: table of the module)::

        v(e) = Ω(e) × e
        p  = e + Δt v(e),                     normalised
        e' = e + Δt [v(e) + v(p)] / 2,        normalised

    Source: R. F. L. Evans et al., J. Phys.: Condens. Matter 26, 103202 (2014), sec. 5.3.
    """

    name = "heun"

    def step(
        self, e: Array, field: SpinField, timestep: float, *, damping: float | Array = 0.0, noise: Array | None = None
    ) -> Array:
        """Directions one step later; see the module for the arguments."""
        first = llg.cross(_omega(e, field, 0.0, damping, noise), e)
        predicted = llg.normalised(e + timestep * first)
        second = llg.cross(_omega(predicted, field, 1.0, damping, noise), predicted)
        return llg.normalised(e + 0.5 * timestep * (first + second))


INTEGRATORS: Final[dict[str, type[SpinIntegrator]]] = {
    kind.name: kind for kind in (DepondtMertens, SemiImplicit, ImplicitMidpoint, Heun)
}
"""Integrators by name."""


def get_integrator(integrator: str | SpinIntegrator) -> SpinIntegrator:
    """Integrator from its name, or an integrator as it is.

    Raises
    ------
    InputError
        Unknown name.
    """
    if not isinstance(integrator, str):
        if not isinstance(integrator, SpinIntegrator):
            raise InputError(
                f"integrator = {integrator!r}; allowed: {', '.join(INTEGRATORS)}, or an integrator object."
            )
        return integrator
    if integrator not in INTEGRATORS:
        raise InputError(f"integrator = {integrator!r}; allowed: {', '.join(INTEGRATORS)}, or an integrator object.")
    return INTEGRATORS[integrator]()


def _omega(e: Array, field: SpinField, fraction: float, damping: float | Array, noise: Array | None) -> Array:
    return llg.angular_velocity(e, field(e, fraction), damping, noise)
