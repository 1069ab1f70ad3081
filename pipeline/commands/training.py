"""Commands that train, and that show and make generations."""

from __future__ import annotations

from pathlib import Path

import click

from lake.errors import invalid
from pipeline.commands.opening import FORMAT, OUT, enter, on_cutouts, project


@click.command()
@click.argument("generation")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--dry-run", is_flag=True, help="Check everything that the run needs and say what it would do; change nothing."
)
@click.option(
    "--rehearse",
    is_flag=True,
    help="Train a small version of it, and of what it starts from, as rehearsal-GENERATION: one epoch each.",
)
@on_cutouts("Train")
def train(
    generation: str,
    settings: tuple[str, ...],
    dry_run: bool,
    rehearse: bool,
    cutouts: Path | None,
    describe: Path | None,
) -> None:
    """Train GENERATION, any of `dhs generations`, after the stages and generations it needs.

    It is added to `train` in params.yaml, with any settings given, and DVC runs what is not up to date; for simulated
    stamps that includes their plan and rendering. --dry-run ends with exit code 1 if something is missing. --rehearse
    fetches no ImageNet weights: without their file it starts from random ones.
    Examples: dhs train gen5a-audit --dry-run; dhs train gen1 network.pretrained=false loop.epochs=20

    With --cutouts and --describe it is trained on a folder of labelled cut-outs, in their own bands and pixels, as
    GENERATION-SET; the test split (by their column `split`, or else by a hash) is left for an audit.
    Example: dhs train demo1 loop.batch=32 --cutouts hsc/ --describe hsc/set.yaml
    """
    from pipeline.finders import training
    from pipeline.project.generations import Wanted

    if (cutouts is None) != (describe is None):
        raise invalid("--cutouts and --describe", "given together", str(cutouts or describe))
    place, wanted = project(), Wanted(generation, settings, rehearse)
    if cutouts is not None and describe is not None:
        from pipeline.finders.cutouttraining import Request, train_on_cutouts

        if dry_run or rehearse:
            raise invalid("--cutouts", "given without --dry-run and --rehearse", str(cutouts))
        click.echo(train_on_cutouts(place, Request(wanted, cutouts, describe)).summary())
        return
    if not dry_run:
        training.train(place, wanted)
        return
    told, good = training.dry_run(place, wanted)
    click.echo(told)
    raise SystemExit(not good)


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@OUT
@FORMAT
def generations(names: tuple[str, ...], out: Path | None, style: str) -> None:
    """List all generations, each with what it changes in the one it is based on; with one NAME, all its parameters.

    With several names, show the parameters that differ between them. Your own generations are in params/generations.
    Examples: dhs generations; dhs generations demo1; dhs generations gen4 gen5b
    """
    from pipeline.tables.export import checked_out, deliver
    from pipeline.training.overlays import compared, overview

    checked_out(out)
    folder = enter()
    deliver(compared(folder, names) if names else overview(folder), out, style=style)


@click.command()
@click.argument("name")
@click.option("--based-on", "base", required=True, metavar="GENERATION", help="The generation it is based on.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A change, such as loop.epochs=4. Repeatable."
)
@click.option("--description", help="One sentence for tables and reports; by default, the changes.")
def new(name: str, base: str, settings: tuple[str, ...], description: str | None) -> None:
    """Make a generation NAME of your own: a small, checked file in params/generations to edit and train.

    Example: dhs new mine --based-on demo1 --set loop.epochs=4; dhs train mine; dhs audit mine
    """
    from pipeline.training.overlays import make

    path = make(project(), name, base, settings, description)
    click.echo(f"{path} made; `dhs train {name} --dry-run` says what training needs, `dhs train {name}` trains it")
