"""A small shell for SQL: several lines a query, a history, and errors that do not end it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from lake.store import views
from pipeline.project.edge import explained

PROMPTS = ("dhs> ", "...> ")
GREETING = "SQL on the lake's tables (DuckDB). A query ends with ; or an empty line. \\tables  \\describe TABLE  \\quit"
_HISTORY_LINES = 1000
_ENDS = ("quit", "exit", "\\quit", "\\q")
_SHORT = {"\\tables": "show tables", "\\describe": "describe", "\\d": "describe"}


def converse(answer: Callable[[str], None]) -> None:
    """Read queries from the terminal until it ends or the user quits; ``answer`` runs and shows one.

    Ctrl-C abandons the query that is typed or runs.
    """
    click.echo(GREETING)
    with _history():
        while True:
            try:
                text = _typed()
                if text is None:
                    return
                for one in statements(text):
                    answer(one)
            except KeyboardInterrupt:
                click.echo()
            except Exception as error:
                said = explained(error)
                if said is None:
                    raise
                click.echo(f"dhs: {said}", err=True)


def statements(text: str) -> Iterator[str]:
    """The queries in a text, which are separated by semicolons; one in quotes or in a comment separates nothing."""
    import duckdb

    text.encode()
    with duckdb.connect() as connection:
        try:
            yield from [one.query.strip() for one in connection.extract_statements(text)]
        except duckdb.Error:
            yield text  # running it reports what is wrong


def _typed() -> str | None:
    """The next query without its end, a word that ends the shell as None."""
    lines: list[str] = []
    while True:
        try:
            line = input(PROMPTS[bool(lines)])
        except EOFError:
            click.echo()
            return None
        first, _, rest = line.strip().rstrip(";").partition(" ")
        if not lines and first.lower() in _ENDS:
            return None
        if not lines and first in _SHORT:
            return f"{_SHORT[first]} {rest}".strip()
        lines.append(line)
        if not line.strip() or line.rstrip().endswith(";"):
            return "\n".join(lines).strip().rstrip(";").strip()


@contextlib.contextmanager
def _history() -> Iterator[None]:
    """Lines of earlier shells, and names of tables to complete with Tab, where this Python has readline."""
    try:
        import readline
    except ImportError:
        yield
        return
    path = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "darkhaloscope" / "history"
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(_HISTORY_LINES)
    readline.set_completer(_completed)
    readline.set_completer_delims(" \t\n,()=")
    readline.parse_and_bind("tab: complete")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(path)


def _completed(start: str, place: int) -> str | None:
    return ([name for name in (*views.known(), *_SHORT) if name.startswith(start.lower())] + [None])[place]
