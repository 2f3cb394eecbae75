"""How ASE gets to know the calculator ``deepspin``: its experimental plugin list, and its table of names.

The entry point ``ase.plugins`` points at this module; ASE (3.29 on) imports it when it builds
``ase._4.plugins.plugins`` and looks for ``__ase_plugins__``. That name is made on access, because importing
ASE's plugin package from here at import time would start the very search that imports this module, which then
would be seen half-finished and be skipped.

Nothing here imports torch: the class itself is named by a string that ASE resolves when the calculator is
asked for. ``docs/ase.md`` lists where ASE looks and where it does not.
"""

from __future__ import annotations

from typing import Any

NAME = "deepspin"
"""Name of the calculator in ASE."""

_IMPLEMENTATION = "deepspin_ase.calculator.DeepSpin"


def _ase_plugins() -> set[Any]:
    """Descriptions for ASE's plugin list; empty for an ASE without one."""
    try:
        from ase._4.plugins.plugin import CalculatorPlugin
    except ImportError:
        return set()
    return {CalculatorPlugin(name=NAME, citation="", implementation=_IMPLEMENTATION)}


def __getattr__(name: str) -> Any:
    if name == "__ase_plugins__":
        return globals().setdefault(name, _ase_plugins())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def register_with_ase() -> None:
    """Let ASE find the calculator by its name ``deepspin`` for the rest of this process.

    ``ase.calculators.calculator.get_calculator_class`` knows a fixed list of names and no entry points.
    Afterwards ``get_calculator_class("deepspin")`` returns :class:`deepspin_ase.DeepSpin`. Calling this twice
    does no harm.

    Raises
    ------
    RuntimeError
        If another package has taken the name.
    """
    from ase.calculators.calculator import external_calculators, register_calculator_class

    from deepspin_ase.calculator import DeepSpin

    present = external_calculators.get(NAME)
    if present is None:
        register_calculator_class(NAME, DeepSpin)
    elif present is not DeepSpin:
        raise RuntimeError(
            f"ASE already knows a calculator {NAME!r}: {present.__module__}.{present.__qualname__}. "
            f"Remove it with ase.calculators.calculator.external_calculators.pop({NAME!r}) first."
        )
