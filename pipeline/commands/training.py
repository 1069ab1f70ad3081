"""Commands that train, and that show and make generations."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.opening import FORMAT, OUT, enter, project


@click.command()
@click.argument("generation")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--dry-run", is_flag=True, help="Look at everything that the run needs, say what it would do; change nothing."
)
@click.option(
    "--rehearse",
    is_flag=True,
    help="Train it and what it starts from in small, as rehearsal-GENERATION: one epoch each.",
)
def train(generation: str, settings: tuple[str, ...], dry_run: bool, rehearse: bool) -> None:
    """Train GENERATION, any of `dhs generations`, after the stages and generations it needs.

    It is added to `train` in params.yaml, with any settings given, and DVC runs what is not up to date. --dry-run ends
    with exit code 1 if something is missing. --rehearse starts from random weights in place of ImageNet's.
    Examples: dhs train gen5a-audit --dry-run; dhs train gen1 network.pretrained=false loop.epochs=20
    """
    from pipeline.project.generations import Wanted
    from pipeline.verbs import training

    place, wanted = project(), Wanted(generation, settings, rehearse)
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
    """List all generations and what differs in each from the one it is based on; of one NAME, all parameters.

    Of several names, the parameters that differ between them. Own generations are in params/generations.
    Examples: dhs generations; dhs generations demo1; dhs generations gen4 gen5b
    """
    from pipeline.training.overlays import compared, overview
    from pipeline.verbs.export import checked_out, deliver

    checked_out(out)
    folder = enter()
    deliver(compared(folder, names) if names else overview(folder), out, style=style)


@click.command()
@click.argument("name")
@click.option("--based-on", "base", required=True, metavar="GENERATION", help="The generation that it changes.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A change, such as loop.epochs=4. Repeatable."
)
@click.option("--description", help="One sentence for tables and reports; by default, the changes.")
def new(name: str, base: str, settings: tuple[str, ...], description: str | None) -> None:
    """Make a generation NAME of your own: a small file in params/generations, checked, to be edited and trained.

    Example: dhs new mine --based-on demo1 --set loop.epochs=4; dhs train mine; dhs audit mine
    """
    from pipeline.training.overlays import make

    path = make(project(), name, base, settings, description)
    click.echo(f"{path} made; `dhs train {name} --dry-run` says what a training needs, `dhs train {name}` trains it")
