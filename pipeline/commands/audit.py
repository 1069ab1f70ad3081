"""Auditing a user's own finder, and removing it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.commands.opening import Typed, project


@click.command()
@click.argument("finder", metavar="PACKAGE:OBJECT")
@click.option("--name", required=True, help="Name of the finder in tables and the report.")
@click.option(
    "--output",
    type=click.Choice(["logits", "probabilities"]),
    help="What the finder returns, if it does not declare it.",
)
@click.option(
    "--trained-on",
    type=Typed(exists=True, dir_okay=False),
    metavar="LIST.csv",
    help="What the finder was trained on: galaxy_id, or ra and dec (degrees); leakage is then measured.",
)
@click.option(
    "--within",
    default=1.0,
    show_default=True,
    help="Radius (arcsec) within which an object matches a listed position.",
)
def audit(finder: str, name: str, output: Any, trained_on: Path | None, within: float) -> None:
    """Measure the completeness of your own finder, which takes minutes on the demo survey and hours on a large one.

    PACKAGE:OBJECT is installed, or lies in the project's folder: a function, an object with `score`, a class that
    makes one, or a torch module. It takes stamps (batch, band, y, x) in nanomaggies, bands g, r, z, and returns one
    logit per stamp (or a probability, if it declares so). It is tried on stamps of this lake first; one that fails
    changes nothing.
    Example: dhs audit my_finder:finder --name mine
    """
    from pipeline.verbs import audit as audits
    from pipeline.verbs.reproduce import closing_words

    listed = audits.TrainedOn(trained_on, within) if trained_on else None
    place = project()
    audits.audit(place, finder, name, output, listed)
    click.echo(closing_words(place))


@click.command()
@click.argument("name")
def forget(name: str) -> None:
    """Remove the finder NAME that `dhs audit` added, with its results; nothing else changes.

    Example: dhs forget mine
    """
    from pipeline.verbs import audit as audits

    for removed in audits.forget(project(), name):
        click.echo(f"removed {removed}")
    click.echo("the report still shows it until `dvc repro report` remakes it")
