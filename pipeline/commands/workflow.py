"""Commands that run stages."""

from __future__ import annotations

import os
from collections.abc import Callable

import click

from pipeline.commands.opening import enter, project


@click.command()
@click.argument("stage")
@click.option(
    "--generation", "--manifest", "--name", "generation",
    help="The finder, manifest, plan or set, for stages that run once for each.",
)  # fmt: skip
@click.option("--named", metavar="STAGE@GENERATION", help="The same, by the DVC stage name (as in DVC_STAGE).")
def run(stage: str, generation: str | None, named: str | None) -> None:
    """Run one STAGE with the parameters of params.yaml; this is what DVC calls.

    Examples: dhs run pool; dhs run grid --generation demo1; dhs run manifest --manifest audit_70_15_15
    """
    from lake.processes import end_with_parent
    from pipeline.stage import run_stage

    if "DVC_STAGE" in os.environ:
        end_with_parent(shell=os.environ.get("SHELL") or "/bin/sh")  # the shell that DVC takes
    run_stage(project(), stage, generation if named is None else named.partition("@")[2])


def _jobs(default: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The option --jobs."""
    told = "How many stages may run at once, if none needs another's results; each takes memory of its own."
    return click.option("--jobs", type=click.IntRange(1), default=default, show_default=True, metavar="N", help=told)


@click.command()
@_jobs(2)
def demo(jobs: int) -> None:
    """Run the whole pipeline on the simulated demo survey and print what to look at."""
    from pipeline.finders.reproduce import closing_words, reproduce
    from pipeline.project import params as parameters

    folder = enter()
    if not (folder / parameters.FILE).exists():
        parameters.write(folder, parameters.resolve(folder, "demo"), "demo")
    place = parameters.load(folder)
    reproduce(place, jobs=jobs)
    click.echo(closing_words(place))


@click.command(context_settings={"ignore_unknown_options": True})
@_jobs(1)
@click.argument("targets", nargs=-1, type=click.UNPROCESSED, metavar="[TARGETS AND OPTIONS OF dvc repro]...")
def repro(jobs: int, targets: tuple[str, ...]) -> None:
    """Run what is not up to date: `dvc repro` that also repairs what kills and lost tables left behind.

    It removes locks of killed processes (also DVC's own lock file, if a kill damaged it) and sees that a table is lost.
    Without arguments, and with --jobs above 1, stages that do not depend on a failed one still run.
    Examples: dhs repro; dhs repro --jobs 2; dhs repro report; dhs repro --force grid@demo1
    """
    from pipeline.finders.reproduce import reproduce

    reproduce(project(), *targets, jobs=jobs)


@click.group()
def params() -> None:
    """Choose and show parameters (base and overlays in params/)."""


@params.command()
@click.argument("name")
def use(name: str) -> None:
    """Resolve the parameter set NAME (demo, simulated, test, dr10) into params.yaml, checked.

    Example: dhs params use demo
    """
    from pipeline.project import params as parameters

    kept = parameters.use(enter(), name)
    finders = f" and the finders added here ({', '.join(kept)})" if kept else ""
    click.echo(f"params.yaml now holds '{name}'{finders}; `dvc repro` runs what this changes")


@params.command()
@click.argument("section", metavar="STAGE|survey")
@click.option("--generation", help="The generation; needed for `train` alone.")
def show(section: str, generation: str | None) -> None:
    """Show the parameters of STAGE, or those that all stages share (survey), with what each means.

    Examples: dhs params show grid; dhs params show train --generation demo1
    """
    from lake.config import documentation
    from pipeline.project import params as parameters
    from pipeline.stage import stage_names

    if section in set(stage_names()) - {"train", *parameters.SECTIONS}:
        click.echo(f"stage '{section}' has no parameters")
        return
    found = parameters.section(project(), section, generation)
    meanings = documentation(type(found))
    for name in type(found).model_fields:
        meaning = meanings.get(name, "").replace("``", "`")
        click.echo(f"{name}: {getattr(found, name)!r}\n    {meaning}")
