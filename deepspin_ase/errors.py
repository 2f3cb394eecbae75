"""Errors that are the user's to fix; the command line turns them into one line instead of a traceback."""

from __future__ import annotations


class DeepSpinError(Exception):
    """Base class of the errors that this package raises on purpose."""


class InputError(DeepSpinError, ValueError):
    """Something given by the user (file, option, structure) cannot be used; the message says what can."""
