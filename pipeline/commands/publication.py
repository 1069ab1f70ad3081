"""Commands that make the report ready for print and for review."""

from __future__ import annotations

from pathlib import Path

import click

from lake.errors import invalid
from pipeline.commands.opening import Typed, project


@click.command()
@click.option("--paper", type=Typed(), required=True, metavar="DIR", help="A new or empty folder.")
def report(paper: Path) -> None:
    """Write the report for print: LaTeX tables, PDF figures, and a main.tex that includes them.

    The same tables give the same bytes. The page itself is made by `dvc repro report`.
    Example: dhs report --paper paper; cd paper; pdflatex main
    """
    from pipeline.tables.publication import write_paper

    if Path.cwd().is_relative_to(paper.resolve()):  # the shell would stand in a folder that is gone
        raise invalid("paper", "another folder than the working directory", paper)
    files = write_paper(project(), paper)
    kinds = {kind: sum(place.suffix == f".{kind}" for place in files) for kind in ("tex", "pdf")}
    click.echo(f"{paper / 'main.tex'}: {kinds['tex'] - 1} tables, {kinds['pdf']} figures")


@click.command()
@click.argument("file", type=Typed())
@click.option(
    "--max-rows",
    default=2_000_000,
    show_default=True,
    type=click.IntRange(min=0),
    help="Tables with more rows are left out, and listed.",
)
def bundle(file: Path, max_rows: int) -> None:
    """Pack the report and what it was made from into FILE (.tar.gz) for review.

    Code version, configuration, priors, tables as Parquet, figures with their data, logs, cards and pins, checksums.
    FILE must not exist; equal content gives equal bytes.
    Example: dhs bundle review.tar.gz
    """
    from pipeline.tables.bundle import write_bundle

    made = write_bundle(project(), file, max_rows)
    click.echo(f"{made}: {made.stat().st_size / 1e6:.1f} MB")
