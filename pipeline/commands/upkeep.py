"""Commands that keep the lake in order."""

from __future__ import annotations

import click

from pipeline.commands.opening import project


@click.group()
def lake() -> None:
    """Clean up the lake. What is in it: `dhs tables`; whether it is whole: `dhs verify`."""


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

    What `dhs query`, at any revision, can read stays, and so does the newest version of each table. A stage that runs
    on this machine holds it off; files of one that writes from elsewhere are protected by their age. DVC's own
    files are collected by `dvc gc`.
    """
    from pipeline.verbs.upkeep import collect

    for line in collect(project().data, days, doit=remove):
        click.echo(line)
