"""The registry of runs: list, show, invalidate, restore; and what is expected of runs to come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lake.names import RUN_KINDS
from pipeline.commands.opening import FORMAT, OUT, project

_REASON = click.option("--reason", required=True, metavar="TEXT", help="Why, in a sentence.")
_STATUSES = ("planned", "trained", "valid", "superseded", "invalidated")
_HISTORICAL = ("training", "diagnostic", "evaluation", "injection")


@click.group(invoke_without_command=True)
@click.option("--kind", type=click.Choice([*RUN_KINDS, *_HISTORICAL]), help="Runs of one kind.")
@click.option("--status", type=click.Choice(_STATUSES), help="Runs of one status.")
@click.option("--finder", metavar="NAME", help="Runs of one finder.")
@click.option("--source", type=click.Choice(["trained", "historical"]), help="Those made here, or the reference's.")
@OUT
@FORMAT
@click.pass_context
def registry(
    context: click.Context,
    kind: str | None,
    status: str | None,
    finder: str | None,
    source: str | None,
    out: Path | None,
    style: str,
) -> None:
    """List every run: trainings, evaluations, diagnoses, grids, audits, imports, and the reference system's records.

    Example: dhs registry --finder demo1
    """
    if context.invoked_subcommand is not None:
        return
    from pipeline.tables.export import checked_out, deliver
    from pipeline.tables.registry import for_the_screen, listing

    checked_out(out)
    rows = listing(project(), {"kind": kind, "status": status, "finder": finder, "source": source})
    short = out is None and style == "table"
    deliver(for_the_screen(rows) if short else rows, out, short=short, style=style)


@registry.command()
@click.argument("run", metavar="RUN")
def show(run: str) -> None:
    """Show all that is known of RUN: status and why, configuration, data, results, finding, records that disagree.

    Example: dhs registry show evaluate-demo1
    """
    from pipeline.tables.registry import described

    click.echo(described(project(), run))


@registry.command()
@click.argument("run", metavar="RUN")
@_REASON
def invalidate(run: str, reason: str) -> None:
    """Take RUN's results, and what was made from them, out of queries, views, report, metrics and comparisons.

    RUN is a run of `dhs registry`, or a finder: then its training or audit, and so all that was made with it. Nothing
    is deleted: `dhs query --invalid` shows the rows. The record is a text file in data/registry, to be committed. It
    holds until `dhs registry restore`, even if the results are made again.
    Example: dhs registry invalidate grid-demo1 --reason "hosts of the wrong survey"
    """
    from pipeline.tables.registry import change

    click.echo("\n".join(change(project(), run, "invalidated", reason)))


@registry.command()
@click.argument("run", metavar="RUN")
@_REASON
def restore(run: str, reason: str) -> None:
    """Let RUN count again, also where it was made from an invalid run, whose reason then does not apply to it.

    It answers decisions that were made before: what is invalidated later takes RUN out again.
    Example: dhs registry restore grid-demo1 --reason "they were the right hosts"
    """
    from pipeline.tables.registry import change

    click.echo("\n".join(change(project(), run, "restored", reason)))


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--measure", required=True, help="A name in the table diagnostics, or completeness/THRESHOLD.")
@click.option("--expect", required=True, type=click.Choice(["above", "below", "between"]), help="Where it will lie.")
@click.option("--threshold", required=True, type=float, help="The value, or the lower end of between.")
@click.option("--upper", type=float, help="The upper end of between.")
@click.option("--against", metavar="RUN", help="Expect a difference: RUN's value minus that of this run.")
@click.option("--note", default="", help="Why it is expected.")
def preregister(
    run: str, measure: str, expect: Any, threshold: float, upper: float | None, against: str | None, note: str
) -> None:
    """Register what RUN is expected to find; refused once RUN has results.

    The result is as expected if its whole 95 % interval lies there. Differences are paired where both runs measured the
    same objects, injections or trials; the errors of other differences are treated as independent. The record is a text
    file in data/registry, to be committed; the report and `dhs registry show` put the result beside it.
    Example: dhs preregister evaluate-gen5a --against evaluate-gen4 --measure auc --expect above --threshold 0
    """
    from lake.store.expected import Expectation
    from pipeline.tables.preregister import register

    paired = "paired DeLong test, 95 % interval of the difference"
    apart = "95 % interval of the difference, errors taken as independent"
    test = "95 % interval of the figure" if against is None else paired if measure == "auc" else apart
    wanted = Expectation(run, measure, expect, threshold, upper, against, test, note)
    click.echo("\n".join(register(project().data, wanted)))
