"""Commands that look into the lake."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pipeline.commands.opening import Typed, project

_OUT = click.option("--out", type=Typed(), help="Write the rows to a .parquet, .csv or .fits file.")
_AT = click.option("--at", metavar="REVISION", help="Tables as pinned in this git revision.")


@click.command()
@click.argument("text", metavar="SQL")
@_AT
@_OUT
def query(text: str, at: str | None, out: Path | None) -> None:
    """Run SQL on the lake's tables without starting Spark, in under a second.

    Tables are named as in `dhs tables` and read at their pinned versions. Example:
    dhs query "select split, label, count(*) as n from manifest where manifest_id = 'audit_70_15_15' group by all"

    DESCRIBE TABLE, SHOW TABLES and EXPLAIN work too. To compare or sum completeness, use the view completeness_main.
    """
    from lake.store.query import query as answer
    from pipeline.verbs.export import checked_out, deliver

    checked_out(out)
    deliver(
        answer(project().data, text, at=at), out, whole=text.lower().split()[:1] in (["describe"], ["desc"], ["show"])
    )


@click.command()
@click.argument("text", metavar="SQL")
@_AT
@_OUT
def sql(text: str, at: str | None, out: Path | None) -> None:
    """Run Spark SQL on the lake's tables.

    Tables are read by name at their pinned versions, or one of them at another version:
    dhs sql "select count(*) from tractor_pool version as of 1"
    """
    from pyspark.errors import PySparkException

    from etl.spark.session import session
    from etl.tables.query import sql as answer
    from lake.errors import ParameterError
    from pipeline.project.edge import spark_sentence
    from pipeline.verbs.export import checked_out, deliver

    checked_out(out)
    place = project().data
    try:
        rows = answer(session(place, "sql", str(os.getpid())), place, text, at=at).toArrow()
    except PySparkException as error:
        raise ParameterError(f"the query failed: {spark_sentence(error)}") from error
    deliver(rows, out)


@click.command()
@_AT
def tables(at: str | None) -> None:
    """List the tables: rows, pinned version, meaning."""
    from pipeline.verbs.catalogue import listing

    click.echo(listing(project().data, at))


@click.command()
@click.argument("name", metavar="TABLE_OR_RUN")
def lineage(name: str) -> None:
    """Trace a table, a slice (completeness.demo1) or a generation back to files, commits and checkpoints."""
    from pipeline.verbs.lineage import tree

    click.echo(tree(project().data, name))


@click.command()
@click.option(
    "--repair", is_flag=True, help="Forget what is lost, set aside what is damaged, print the commands that remake it."
)
@click.option("--deep", is_flag=True, help="Read every byte: tables, stamps, checkpoints, grids, report.")
def verify(repair: bool, deep: bool) -> None:
    """Check everything against its cards and checksums; exit code 1 if something is wrong.

    What cannot be read (an unmounted disk, a network that is down) is never forgotten, and nothing is deleted: damaged
    files go to `.damaged` under the data folder.
    """
    from pipeline.verbs import verifying

    place = project()
    findings = verifying.check(place, deep=deep)
    for finding in findings:
        click.echo(finding.sentence, err=True)
    if not findings:
        click.echo("everything is intact" if deep else "every pinned version is in the lake")
        return
    commands = verifying.repair(place, findings) if repair else []
    if commands:
        click.echo(f"ready to remake; run {', then '.join(f'`{command}`' for command in commands)}")
        return
    if not repair and all(finding.mendable for finding in findings):
        click.echo(f"to repair: `dhs verify{' --deep' if deep else ''} --repair`", err=True)
    raise click.exceptions.Exit(1)
