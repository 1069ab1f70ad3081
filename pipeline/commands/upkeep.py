"""Commands that keep the lake in order."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.opening import Typed, project


@click.group()
def lake() -> None:
    """Clean up the lake, or export from it. See also `dhs tables` (what it holds) and `dhs verify` (is it whole?)."""


@lake.command()
@click.option("--remove", is_flag=True, help="Remove the files; without it they are only counted.")
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Keep files younger than this; by default 7, in an object store 30.",
)
def gc(remove: bool, days: float | None) -> None:
    """Remove table files that no pin refers to, neither here nor in any commit that git can reach.

    What `dhs query`, at any revision, can read stays, and so does the newest version of each table. It does not start
    while a stage runs on the same machine; files that others write from elsewhere are protected by their age. With
    `--remove`, unfinished uploads in the project's prefixes on S3 that are older than 30 days (or `--older-than`) are
    aborted. DVC's own files are collected by `dvc gc`.
    """
    from pipeline.tables.upkeep import collect

    for line in collect(project(), days, doit=remove):
        click.echo(line)


@lake.command()
@click.argument("name", metavar="TABLE[.SLICE]")
@click.option("--hats", "folder", type=Typed(), required=True, metavar="DIR", help="Folder of the catalogue.")
@click.option("--at", metavar="REVISION", help="The table as pinned in this git revision.")
@click.option("--max-rows", type=int, metavar="N", help="Rows of a partition at most; by default a million.")
def export(name: str, folder: Path, at: str | None, max_rows: int | None) -> None:
    """Write a pinned table with positions as a HATS catalogue, which LSDB opens.

    Examples: dhs lake export tractor_pool --hats pool; dhs lake export manifest.audit_70_15_15 --hats manifest
    """
    from pipeline.tables.upkeep import export_hats

    click.echo(export_hats(project().data, name, folder, at, max_rows))
