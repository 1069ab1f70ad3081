"""Auditing a finder that is not ours."""

from __future__ import annotations

import click


@click.command()
@click.argument("finder", metavar="PACKAGE:OBJECT")
@click.option("--name", required=True, help="Name of the finder in tables and the report.")
def audit(finder: str, name: str) -> None:
    """Measure the completeness of your own finder.

    PACKAGE:OBJECT is importable from here and takes stamps (batch, band, y, x) in nanomaggies, bands g, r, z; it gives
    one logit per stamp and declares `stamp_pixels`. Example: dhs audit my_finder:finder --name mine
    """
    from pipeline.audit import enlist
    from pipeline.reproduce import closing_words, reproduce

    enlist(finder, name)
    reproduce()
    click.echo(closing_words())
