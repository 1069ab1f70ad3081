"""Commands towards better finders: ensembles, suspects, hard negatives."""

from __future__ import annotations

import click

from pipeline.commands.opening import names, one_of, project

_OF = click.option(
    "--of", "finders", required=True, metavar="A,B,...", callback=names, help="Finders whose scores are used."
)


@click.command()
@click.argument("name")
@_OF
@click.option("--above", default=0.4, show_default=True, help="Negatives with a higher probability are suspects.")
def suspects(name: str, finders: tuple[str, ...], above: float) -> None:
    """List the negatives that finders take for lenses, and write a page to judge them by eye.

    The list is data/judged/NAME.csv, with a column `verdict` (lens, unsure, negative) that you or the page fill in;
    verdicts are kept when the command runs again. A manifest with `leave_out: NAME` in params/ leaves out all that are
    not judged negative.
    Example: dhs suspects unclean --of demo1 --above 0.4
    """
    from pipeline.finders.judging import suspects as listed

    found = listed(project(), name, finders, above)
    click.echo(f"{found.rows} negatives above {above:g}, {found.waiting} of them not judged yet: {found.path}")
    if found.page is not None:
        click.echo(f"judge them on {found.page}")


@click.command("hard-negatives")
@click.argument("name")
@_OF
@click.option("--above", default=0.9, show_default=True, help="Negatives with a higher probability are hard.")
def hard_negatives(name: str, finders: tuple[str, ...], above: float) -> None:
    """List the training negatives that finders take for lenses, to train on with a larger weight.

    The list is data/judged/NAME.csv. A manifest with `hard_negatives: NAME` in params/ marks them; a generation with
    `loss.hard_negative_weight` above 1 weights them; the log of a training counts them in each epoch.
    Example: dhs hard-negatives hard --of demo1,demo2
    """
    from pipeline.finders.judging import hard_negatives as listed

    found = listed(project(), name, finders, above)
    click.echo(f"{found.rows} training negatives above {above:g}: {found.path}")


@click.command()
@click.argument("name")
@click.option(
    "--of",
    "members",
    required=True,
    metavar="A,B,...",
    callback=names,
    help="Finders to combine; each must have been audited.",
)
@one_of(
    "--kind",
    "logistic|network",
    "Meta-learner: a logistic regression, or a network with one hidden layer of 300 units.",
)
@click.option(
    "--conditions",
    default="",
    metavar="X,Y",
    callback=names,
    help="Columns of the manifest as further inputs (psfsize_r,psfdepth_r); by default none.",
)
def ensemble(name: str, members: tuple[str, ...], kind: str, conditions: tuple[str, ...]) -> None:
    """Combine finders by a meta-learner into the finder NAME, and audit it as `dhs audit` does.

    It is fitted to the validation split's lenses and to half of its negatives that may host injections. No member may
    have trained on these; negatives that fix thresholds and test objects stay untouched. The command first prints the
    AUC on these objects of each member and of the ensemble (out of fold in whole HEALPix pixels).
    Example: dhs ensemble both --of demo1,demo2
    """
    from pipeline.finders import ensembling
    from pipeline.finders.reproduce import closing_words
    from pipeline.tables.export import deliver

    place, asked = project(), ensembling.Request(name, members, kind, conditions)
    fitted = ensembling.fit(place, asked)
    click.echo(f"AUC on {len(fitted.rows):,} validation objects ({name}: out of fold)")
    deliver(fitted.ranking, None, short=True)
    ensembling.audit_ensemble(place, asked, fitted)
    click.echo(closing_words(place))
