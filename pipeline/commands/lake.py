"""Commands that look into the lake."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import click

from pipeline.commands.opening import FORMAT, OUT, project

_AT = click.option("--at", metavar="REVISION", help="Tables as pinned in this git revision.")

_INVALID = click.option(
    "--invalid", is_flag=True, help="Include results of invalidated runs (`dhs registry` lists them)."
)


@click.command()
@click.argument("text", metavar="[SQL]", required=False)
@_AT
@_INVALID
@OUT
@FORMAT
def query(text: str | None, at: str | None, invalid: bool, out: Path | None, style: str) -> None:
    """Run SQL (DuckDB's) on the lake's tables without starting Spark, in under a second.

    Tables are named as in `dhs tables` and read at their pinned versions.
    Example: dhs query "select split, label, count(*) as n from manifest where manifest_id = 'audit_70_15_15' group by
    all"

    Without SQL it reads queries from standard input, or from you: a small shell. Another version of a table is
    `tractor_pool at (version => 1)`. DESCRIBE TABLE, SHOW TABLES and EXPLAIN work too. To compare or sum completeness,
    use the view completeness_main. Results of invalidated runs are left out, and a line on
    standard error names them.
    """
    from lake.errors import invalid as bad
    from lake.store.query import query as run
    from pipeline.tables.export import checked_out, deliver
    from pipeline.tables.shell import converse, statements

    checked_out(out)
    here, data = Path.cwd(), project().data

    def answer(one: str) -> None:
        names_only = one.lower().split()[:1] in (["describe"], ["desc"], ["show"])
        deliver(run(data, one, at, here, invalid), out, short=names_only, style=style)

    if text is None and isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")  # an error then names text that is not UTF-8
    if text is None and out is None and sys.stdin.isatty():
        converse(answer)
        return
    texts = [text] if text is not None else list(statements("" if sys.stdin.isatty() else sys.stdin.read())) or [""]
    if out is not None and len(texts) > 1:
        raise bad("SQL", "one query with --out", f"{len(texts)} queries")
    for one in texts:
        answer(one)


@click.command()
@click.argument("text", metavar="SQL")
@_AT
@_INVALID
@OUT
@FORMAT
def sql(text: str, at: str | None, invalid: bool, out: Path | None, style: str) -> None:
    """Run Spark SQL on the lake's tables.

    Tables are read by name at their pinned versions, or one of them at another version.
    Example: dhs sql "select count(*) from tractor_pool version as of 1"
    """
    from pyspark.errors import PySparkException

    from etl.spark.session import session
    from etl.tables.query import sql as answer
    from lake.errors import ParameterError
    from pipeline.project.edge import spark_sentence
    from pipeline.tables.export import checked_out, deliver

    checked_out(out)
    place = project().data
    try:
        rows = answer(session(place, "sql", str(os.getpid())), place, text, at, invalid).toArrow()
    except PySparkException as error:
        raise ParameterError(f"the query failed: {spark_sentence(error)}") from error
    deliver(rows, out, style=style)


@click.command()
@click.argument("name", metavar="TABLE")
@_AT
def describe(name: str, at: str | None) -> None:
    """Describe a table or view: its columns with units and meaning, its slices, pins, and what they were made from.

    Example: dhs describe completeness_main
    """
    from pipeline.tables.catalogue import description

    click.echo(description(project().data, name, at))


@click.command()
@_AT
def tables(at: str | None) -> None:
    """List the tables: rows, pinned version, meaning.

    Examples: dhs tables; dhs tables --at HEAD
    """
    from pipeline.tables.catalogue import listing

    click.echo(listing(project().data, at))


@click.command()
@click.argument("name", metavar="TABLE_OR_RUN")
def lineage(name: str) -> None:
    """Trace a table, a slice (completeness.demo1) or a generation back to files, commits and checkpoints.

    Examples: dhs lineage completeness.demo1; dhs lineage demo1
    """
    from pipeline.tables.catalogue import tree

    click.echo(tree(project().data, name))


@click.command()
@click.option(
    "--repair", is_flag=True, help="Forget what is lost, set aside what is damaged, print the commands that remake it."
)
@click.option("--deep", is_flag=True, help="Read every byte: tables, stamps, checkpoints, grids, report.")
def verify(repair: bool, deep: bool) -> None:
    """Check everything against its cards and checksums; exit code 1 if something is wrong.

    With --repair, damaged files go to `.damaged` under the data folder; what is deleted is made again: cards and pins
    of damaged tables, and what the pool keeps of the sweeps that it has read. What cannot be read (an unmounted disk,
    a network that is down) is never forgotten. Examples: dhs verify; dhs verify --deep --repair
    """
    from pipeline.tables import verifying

    place = project()
    findings = verifying.check(place, deep=deep)
    for finding in findings:
        click.echo(finding.sentence, err=True)
    if not findings:
        if deep and (told := verifying.loose(place)):
            click.echo(told)
        click.echo("everything is intact" if deep else "every pinned version is in the lake")
        return
    commands = verifying.repair(place, findings) if repair else []
    if commands:
        click.echo(
            f"ready to remake; in the project's folder run {', then '.join(f'`{command}`' for command in commands)}"
        )
        return
    if not repair and all(finding.mendable for finding in findings):
        click.echo(f"to repair: `dhs verify{' --deep' if deep else ''} --repair`", err=True)
    raise click.exceptions.Exit(1)
