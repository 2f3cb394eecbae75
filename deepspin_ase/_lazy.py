"""Public names that are imported when they are first used (PEP 562); importing a package stays cheap."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_exports(package: str, table: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make ``__getattr__`` and ``__dir__`` of a package from a table of its public names.

    Parameters
    ----------
    package
        ``__name__`` of the package.
    table
        Public name -> module that defines it under the same name.

    Returns
    -------
    tuple of two functions
        ``__getattr__`` and ``__dir__`` of the package. A name is looked up once; afterwards it is an ordinary
        attribute of the package.

    Examples
    --------
    >>> __getattr__, __dir__ = lazy_exports(__name__, {"Frame": "deepspin_ase.data.frames"})  # doctest: +SKIP
    """

    def __getattr__(name: str) -> Any:  # noqa: N807
        try:
            module = table[name]
        except KeyError:
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None
        value = getattr(import_module(module), name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:  # noqa: N807
        return sorted({*vars(sys.modules[package]), *table})

    return __getattr__, __dir__
