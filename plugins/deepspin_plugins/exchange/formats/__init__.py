"""Readers and writers of exchange files of other codes; conversions happen here and nowhere else.

Every reader returns a ``HeisenbergModel`` in the convention of this package, every writer takes one:

>>> from deepspin_plugins.exchange.formats import read_tb2j, write_vampire
>>> write_vampire("fe", read_tb2j("exchange.out"))  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepspin_ase._lazy import lazy_exports

if TYPE_CHECKING:
    from deepspin_plugins.exchange.formats.spirit import read_spirit, write_spirit
    from deepspin_plugins.exchange.formats.tb2j import read_tb2j, write_tb2j
    from deepspin_plugins.exchange.formats.uppasd import read_uppasd, write_uppasd
    from deepspin_plugins.exchange.formats.vampire import read_vampire, write_vampire

NAMES = ("tb2j", "uppasd", "vampire", "spirit")

__all__ = [
    "read_spirit",
    "read_tb2j",
    "read_uppasd",
    "read_vampire",
    "write_spirit",
    "write_tb2j",
    "write_uppasd",
    "write_vampire",
]

__getattr__, __dir__ = lazy_exports(
    __name__, {f"{verb}_{name}": f"{__name__}.{name}" for name in NAMES for verb in ("read", "write")}
)
