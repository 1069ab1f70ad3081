"""Commands that share the lake through a remote."""

from __future__ import annotations

import click

from pipeline.commands.opening import project

_REMOTE = click.option("--remote", metavar="NAME", help="One of `dvc remote list`; by default the only or default one.")
_AT = click.option("--at", metavar="REVISION", help="Tables as pinned in this git revision, without DVC's files.")
_TABLES = click.argument("tables", nargs=-1, metavar="[TABLE]...")


@click.command()
@_TABLES
@_REMOTE
@_AT
def push(tables: tuple[str, ...], remote: str | None, at: str | None) -> None:
    """Copy the pinned versions of all tables, and DVC's files, to the remote; or only the TABLEs named.

    What is there stays as it is; a push that was cut off goes on when it is repeated. Commit the cards and dvc.lock:
    whoever has that commit gets everything with `dhs pull`. Examples: dhs push; dhs push completeness --remote team
    """
    from pipeline.tables import sharing

    place = project()
    _end(sharing.push(place, sharing.remote(place, remote), tables, at))


@click.command()
@_TABLES
@_REMOTE
@_AT
@click.option(
    "--merge", is_flag=True, help="Where you and others wrote on the same version, write your slices on their table."
)
def pull(tables: tuple[str, ...], remote: str | None, at: str | None, merge: bool) -> None:
    """Copy the tables that the committed cards pin, and DVC's files, from the remote; or only the TABLEs named.

    What is here stays as it is. Every file's checksum is verified. A local table that is not the pinned one is left
    alone and named; with --merge it moves to `lake/.replaced` under the data folder.
    Examples: dhs pull; dhs pull scores completeness
    """
    from pipeline.tables import sharing

    place = project()
    _end(sharing.pull(place, sharing.remote(place, remote), tables, at, merge=merge))


def _end(problems: list[str]) -> None:
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        raise click.exceptions.Exit(1)
