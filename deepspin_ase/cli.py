"""The command line ``deepspin``: core commands from a table, and one command per installed plugin.

Only the module of the command that is run gets imported; ``--help`` imports no torch. Commands are plain
functions with typer annotations, core ones in ``deepspin_ase/<area>/commands.py``.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, Final, NamedTuple

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from deepspin_ase import __version__
from deepspin_ase.errors import DeepSpinError
from deepspin_ase.plugin import PluginError, discover_plugins, load_plugin, plugin_names

EXIT_USER_ERROR: Final = 2
EXIT_INTERRUPTED: Final = 130


class CoreCommand(NamedTuple):
    """Where a core command is defined, and its line in ``deepspin --help``."""

    module: str
    function: str
    summary: str


CORE_COMMANDS: Final[dict[str, CoreCommand]] = {
    "demo": CoreCommand(
        "deepspin_ase.demo.command",
        "demo",
        "The main job on NiO, from relaxation to the Néel temperature, with pictures.",
    ),
    "models": CoreCommand("deepspin_ase.commands", "models", "List the models that come with the package."),
    "convert": CoreCommand("deepspin_ase.data.commands", "convert", "Convert labelled frames between file formats."),
    "inspect": CoreCommand("deepspin_ase.data.commands", "inspect", "Check and summarise a file of labelled frames."),
    "train": CoreCommand("deepspin_ase.training.commands", "train", "Train a model on labelled frames."),
    "evaluate": CoreCommand("deepspin_ase.training.commands", "evaluate", "Errors of a model on labelled frames."),
    "learn": CoreCommand(
        "deepspin_ase.active_learning.commands", "learn", "Active learning: train, explore, select, label, repeat."
    ),
    "plugins": CoreCommand("deepspin_ase.commands", "plugins", "List the installed plugins and their health."),
}


class LazyCommand(TyperCommand):
    """A command that is imported when it is run; until then only its name and summary exist."""

    def __init__(self, name: str, load: Callable[[], Callable[..., Any]], *, summary: str, panel: str) -> None:
        super().__init__(name, short_help=escape(summary), rich_help_panel=panel)
        self._load = load

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Import the command and hand over to it."""
        return _build_command(str(self.name), self._load()).make_context(info_name, args, parent=parent, **extra)


class DeepSpinGroup(TyperGroup):
    """The command group: core table plus plugins, and one place where user errors become messages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, entry in CORE_COMMANDS.items():
            load = _core_loader(entry)
            self.add_command(LazyCommand(name, load, summary=entry.summary, panel="Commands"))
        for name in plugin_names():
            if name not in CORE_COMMANDS:
                self.add_command(LazyCommand(name, _plugin_loader(name), summary="", panel="Plugins"))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page; the plugins are imported for their summaries, and broken ones are reported."""
        for record in discover_plugins(reserved=CORE_COMMANDS):
            if record.usable:
                self.commands[record.name].short_help = escape(record.summary)
            else:
                origin = f"{record.distribution} {record.version}".rstrip()
                _warn(f"plugin {record.name!r} of {origin} cannot be used; `deepspin plugins` says why")
                command = self.commands[record.name]
                if not command.short_help:
                    command.short_help = "(broken, see `deepspin plugins`)"
        super().format_help(ctx, formatter)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; errors of the user, and Ctrl-C, end in one line instead of a traceback."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except (
            DeepSpinError,
            FileNotFoundError,
            PermissionError,
            IsADirectoryError,
            NotADirectoryError,
        ) as error:
            if ctx.params.get("debug"):
                raise
            typer.echo(f"{typer.style('error:', bold=True)} {_message(error)}", err=True)
            raise typer.Exit(EXIT_USER_ERROR) from None


app = typer.Typer(cls=DeepSpinGroup, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich")


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"deepspin-ase {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Log more; twice for most.")] = 0,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Machine-learned magnetic potentials: energies, forces, stress, magnetic forces and torques.

    Each command has its own --help. Units: eV, Å and µB throughout.
    """
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    if verbose:
        for package in ("deepspin_ase", "deepspin_plugins"):
            logging.getLogger(package).setLevel(logging.INFO if verbose == 1 else logging.DEBUG)


def main() -> None:
    """Entry point of the console script ``deepspin``."""
    app(prog_name="deepspin")


def _core_loader(entry: CoreCommand) -> Callable[[], Callable[..., Any]]:
    return lambda: getattr(import_module(entry.module), entry.function)


def _plugin_loader(name: str) -> Callable[[], Callable[..., Any]]:
    return lambda: load_plugin(name).command


def _build_command(name: str, function: Callable[..., Any]) -> Any:
    """Make a command from a typer-annotated function."""
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    single.command(name, help=escape(_help_text(function)))(function)
    try:
        return typer.main.get_command(single)
    except Exception as problem:  # typer's answers to a signature that it cannot use are of many kinds
        if name in CORE_COMMANDS:
            raise
        raise PluginError(
            f"The command of plugin {name!r} cannot be turned into a command line: {type(problem).__name__}: {problem}"
        ) from problem


def _help_text(function: Callable[..., Any]) -> str:
    """Docstring up to its first numpy-style section (``Parameters`` underlined with dashes)."""
    lines = (inspect.getdoc(function) or "").splitlines()
    for number, line in enumerate(lines[1:], start=1):
        if line and set(line) == {"-"}:
            lines = lines[: number - 1]
            break
    return "\n".join(lines).strip()


def _message(error: Exception) -> str:
    """One message for a user, without Python's way of putting it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return str(error)


def _warn(message: str) -> None:
    typer.echo(f"{typer.style('warning:', bold=True)} {message}", err=True)


if __name__ == "__main__":
    main()
