"""Commands about selection functions: completeness, its closure, and what it predicts for a population."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lake.errors import invalid
from pipeline.commands.opening import FORMAT, OUT, NameOrTyped, Typed, names, one_of, project

if TYPE_CHECKING:
    import pyarrow as pa

_FILE = Typed(exists=True, dir_okay=False)


def _points(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[dict[str, float]]:
    if not values:  # without points, the libraries of the emulator are not loaded
        return []
    from pipeline.experiment.emulating import parsed

    return [parsed(value) for value in values]


def _emulated(points: list[dict[str, float]], compare: bool, asked: Mapping[str, Any]) -> pa.Table:
    """Rows of the emulator, with which only the options of a finder and a threshold go."""
    from click.core import ParameterSource

    from pipeline.experiment.emulating import completeness_at, emulator_compared

    context = click.get_current_context()
    given = [name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    alone = {"points", "compare_emulator", "generation", "threshold", "style", "out"}
    if (other := [name for name in given if name not in alone]) or (points and compare):
        option = other[0] if other else "compare_emulator"
        raise invalid(
            option.replace("_", "-"),
            "left out: only --generation, --threshold, --format and --out go with --at or --compare-emulator",
            option,
        )
    finder = (asked["generation"], asked["threshold"])
    return emulator_compared(project(), *finder) if compare else completeness_at(project(), points, *finder)


@click.command()
@click.option(
    "--prior",
    "priors",
    type=NameOrTyped(),
    multiple=True,
    metavar="NAME|FILE.yaml",
    help="Prior of the registry, or your own file; repeatable. Default: the prior that the injections were drawn from.",
)
@click.option("--dual", is_flag=True, help="Show the dual-prior table: the broad prior v1 and the anchored one.")
@click.option("--generation", help="The finder; by default the report's headline.")
@click.option("--threshold", help="One threshold (p0.5, fpr1e-3@val) instead of all.")
@one_of("--theta-e", "grid|prior", "Whether Einstein radii count as often as in the grid, or as in the prior.")
@click.option(
    "--by",
    callback=names,
    default="",
    metavar="AXIS[,AXIS,AXIS]",
    help="One row for each bin of theta_e, beta_frac, src_mag, depth, seeing, host_type, host_exposures, host_size.",
)
@one_of("--population", "all|detectable", "All injections, or only those declared detectable.")
@click.option("--net", is_flag=True, help="Count only injections whose bare host is not above the threshold already.")
@one_of(
    "--weight",
    "grid|survey",
    "Whether cells of seeing and depth count as the grid fills them, or as often as in the survey's pool.",
)
@one_of(
    "--hosts",
    "drawn|lenses",
    "Whether hosts count as they were drawn, or are weighted to follow the hosts of the training split's lenses.",
)
@click.option(
    "--min-support",
    default=0.95,
    show_default=True,
    help="Least share of the prior that injections must cover, and of the lenses' hosts that negatives must; with less "
    "there is no answer.",
)
@click.option(
    "--at",
    "points",
    multiple=True,
    callback=_points,
    metavar="NAME=NUMBER[,...]",
    help="A point in theta_e, src_mag, beta_frac, depth, seeing, or columns of injections. Repeatable.",
)
@click.option("--compare-emulator", is_flag=True, help="Put the emulator of --at beside every cell of the table.")
@FORMAT
@OUT
def completeness(
    priors: tuple[str, ...],
    dual: bool,
    points: list[dict[str, float]],
    compare_emulator: bool,
    style: str,
    out: Path | None,
    **asked: Any,
) -> None:
    """Show the completeness of a finder under any prior from its stored injections, without drawing or scoring again.

    Injections are weighted by the density of the prior over that of the one they were drawn from. The rows give the
    completeness, its 95 % interval (h: host-clustered, t: with the threshold's uncertainty too), the effective number
    of injections n_eff, the support (share of the prior that the injections can represent) and the mean weight, which
    is 1 where they cover it. n_eff alone is not enough: it is high where a narrow grid covers little of a broad prior.
    To reweight a grid to any shipped prior, fill it with `grid.prior: covering`. Counts along any axes are in SQL too:
    the views completeness_by_AXIS_AXIS.

    --at answers from an emulator, a model of the probability of detection fitted to the injections; parameters that are
    not given are averaged over them. A point outside the drawn ranges has no answer, one with fewer than 20 injections
    near is marked.

    Examples: dhs completeness --prior anchored; dhs completeness --dual --threshold p0.5; dhs completeness --by
    theta_e,depth --population detectable --threshold p0.3; dhs completeness --prior mine.yaml --weight survey
    --hosts lenses; dhs completeness --at theta_e=1.4,src_mag_r=24 --at theta_e=2 --threshold p0.3
    """
    from pipeline.experiment.reweighting import DUAL, Asked, completeness_under
    from pipeline.tables.export import checked_out, deliver

    checked_out(out)
    if points or compare_emulator:
        deliver(_emulated(points, compare_emulator, asked), out, short=True, style=style)
        return
    named = [*priors, *(name for name in DUAL if dual and name not in priors)]
    deliver(completeness_under(project(), Asked(named, **asked)), out, short=True, style=style)


@click.command()
@click.option("--generation", help="The finder; by default the report's headline.")
@click.option(
    "--threshold",
    "closure_threshold",
    help="Threshold that is judged (p0.5, fpr1e-3@val); by default `closure_threshold` of the section diagnose.",
)
@click.option(
    "--hosts-per-lens",
    "closure_hosts_per_lens",
    type=click.IntRange(1),
    help="Hosts of the grid per lens; by default `closure_hosts_per_lens` of the section diagnose.",
)
@click.option(
    "--lenses", type=_FILE, metavar="FILE.csv", help="Models of real lenses: ra, dec, lens_theta_e_arcsec, ..."
)
@FORMAT
@OUT
def closure(generation: str | None, lenses: Path | None, style: str, out: Path | None, **changes: Any) -> None:
    """Check on a survey whose lenses are known (the demo) that completeness from injections is that of its lenses.

    The finder's recall of the lenses as painted is compared, link by link, with the same lenses rendered into their own
    hosts (renderer), into hosts of the grid (hosts), and with the grid's injections reweighted to the lenses
    (population). Biases are in points of completeness, with 95 % intervals. Balance is how far hosts' light, Einstein
    radii, magnitudes and sizes of sources, and axis ratios are from those of the lenses, in standard deviations. If a
    link fails, its name is printed and the exit status is 1.

    With --lenses it is self-closure on any survey: the finder's recall of real lenses that have models (columns ra,
    dec, lens_theta_e_arcsec, and any parameters of injections, such as lens_q and src_mag_r) against their parameters
    in hosts of the grid; what a model lacks is drawn from the grid's prior.

    Examples: dhs closure --threshold p0.3; dhs closure --lenses models.csv
    """
    import sys

    from pipeline.tables.export import checked_out, deliver
    from pipeline.verbs.closing import closure as run

    checked_out(out)
    rows, failed = run(project(), generation, lenses, **changes)
    deliver(rows, out, short=True, style=style)
    if failed:
        click.echo(f"the chain does not close at: {', '.join(failed)}", err=True)
        sys.exit(1)


@click.command()
@click.argument("population", type=NameOrTyped("collett2015"), metavar="[NAME|FILE.yaml]", default="collett2015")
@click.option("--generation", help="The finder; by default the report's headline.")
@click.option("--threshold", help="One threshold (p0.5, fpr1e-3@val) instead of all.")
@click.option(
    "--area",
    "area_deg2",
    type=float,
    metavar="DEG2",
    help="Area of the footprint (square degrees); by default that of the pool's bricks.",
)
@click.option(
    "--min-support",
    default=0.95,
    show_default=True,
    help="Least share of the population that the injections must cover; with less the population is refused.",
)
@FORMAT
@OUT
def population(population: str, style: str, out: Path | None, **asked: Any) -> None:
    """Compare how many lenses a population predicts with how many candidates are listed.

    Lenses per square degree, times the footprint, times the share whose galaxy passes the pool's cuts, times the
    completeness of the finder under the population's distributions. It is a check of the order of magnitude: each
    factor has a low, a central and a high value, and so does the product. The part of the population that no injection
    represents counts as found in the high value and as missed in the others. FILE.yaml declares a population as the
    shipped collett2015 does.

    Example: dhs population collett2015 --threshold p0.5
    """
    from pipeline.experiment.populations import expected
    from pipeline.tables.export import checked_out, deliver

    checked_out(out)
    deliver(expected(project(), population, **asked), out, short=True, style=style)
