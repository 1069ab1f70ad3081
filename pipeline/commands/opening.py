"""The project that a command works on, whose folder becomes the working directory, and paths that users type."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipeline.project.project import Project


def _remember(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    if value is not None:
        context.find_root().meta[__name__] = value
    return value


PROJECT = click.Option(
    ["--project"],
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    callback=_remember,
    is_eager=True,
    expose_value=False,
    help="The project's folder or one below it; by default, that of the working directory.",
)
"""An option of ``dhs`` and of every command."""


def enter() -> Path:
    """Make the project's folder the working directory, and return it as a path relative to that.

    DVC, its stages, Spark's server, a user's finder and relative paths in params.yaml are all found from there. Paths
    that the user typed are absolute by then (:class:`Typed`).
    """
    from pipeline.project import params

    folder = params.find(_named() or Path.cwd())
    os.chdir(folder)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    return Path()


def project() -> Project:
    """The project of this command, its parameters read; entered."""
    from pipeline.project import params

    return params.load(enter())


_Command = Callable[..., Any]


class Typed(click.Path):
    """A path relative to where the user is: as it was typed if they are in the project's folder, else absolute."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(path_type=Path, **limits)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from pipeline.project import params

        path: Any = super().convert(value, param, ctx)
        return path if _named() is None and params.is_project(Path.cwd()) else Path.cwd() / path


FORMAT = click.option(
    "--format",
    "style",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How rows are printed.",
)


def on_cutouts(verb: str) -> Callable[[_Command], _Command]:
    """The options --cutouts and --describe of a command that works on the survey or on labelled cut-outs."""
    told = "What the files in FOLDER hold: bands, units, PSF, noise, labels (docs/auditing-cutouts.md)."
    describe = click.option("--describe", type=Typed(exists=True, dir_okay=False), metavar="SET.yaml", help=told)
    told = f"{verb} on your own labelled cut-outs instead of this lake's survey."
    cutouts = click.option("--cutouts", type=Typed(exists=True, file_okay=False), metavar="FOLDER", help=told)
    return lambda command: cutouts(describe(command))


def one_of(name: str, words: str, meaning: str) -> Callable[[_Command], _Command]:
    """An option that takes one of the words in ``A|B|...``, by default the first."""
    known = words.split("|")
    return click.option(name, type=click.Choice(known), default=known[0], show_default=True, help=meaning)


OUT = click.option("--out", type=Typed(), help="Write the rows to a .parquet, .csv or .fits file.")


class NameOrTyped(Typed):
    """One of the names, even if a file has it; else a path that exists; else the text as it is."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in self.names or not Path(value).exists():
            return value
        return str(super().convert(value, param, ctx))


def names(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    """A callback of options: the names in ``A,B,...``."""
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _named() -> Path | None:
    named: Path | None = click.get_current_context().find_root().meta.get(__name__)
    return named
