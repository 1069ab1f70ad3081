"""Commands about results."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.opening import Typed, project


@click.command()
@click.option("--generation", help="The scorer; by default `report.headline_generation`, the first one audited.")
@click.option("--top", default=20, show_default=True, help="How many objects.")
@click.option("--out", type=Typed(), help="Write the rows to a .parquet, .csv or .fits file.")
def discoveries(generation: str | None, top: int, out: Path | None) -> None:
    """Rank objects that are not in the candidate list by score, with RA, Dec and a link to the survey's viewer."""
    from pipeline.reporting import results
    from pipeline.verbs.export import checked_out, deliver

    checked_out(out)
    deliver(results.discoveries(project(), generation, top), out, short=True)


@click.command()
def compare() -> None:
    """Compare the generations on the same test galaxies, with paired tests."""
    from pipeline.reporting.results import comparison
    from pipeline.verbs.export import deliver

    metrics, tests = comparison(project())
    deliver(metrics, None, short=True)
    if tests.num_rows:
        click.echo()
        deliver(tests, None, short=True)


@click.command()
@click.argument("folder", type=Typed(exists=True, file_okay=False))
@click.option("--generation", required=True, help="The scorer.")
@click.option("--out", type=Typed(), help="Write the rows to a .parquet, .csv or .fits file.")
def score(folder: Path, generation: str, out: Path | None) -> None:
    """Score the cut-outs in FOLDER and its subfolders, one row per file, with the reason if there is no score.

    NPZ files with `cutout` (y, x, band) float32 nMgy and `meta_*` values; FITS cubes (band, y, x) as
    served by the survey's viewer.
    """
    from pipeline.verbs.export import checked_out, deliver
    from pipeline.verbs.foreign import score_folder

    checked_out(out)
    deliver(score_folder(project(), folder, generation), out)


@click.command()
@click.argument("folder", type=Typed(exists=True, file_okay=False))
@click.option("--generation", required=True, help="The scorer.")
@click.option("--per-radius", default=100, show_default=True, help="Injections per Einstein radius of the grid.")
def inject(folder: Path, generation: str, per_radius: int) -> None:
    """Inject lenses into the 46 DES galaxies of FOLDER (g.fits, r.fits, z.fits, seeing.txt); measure completeness.

    Rows go to `injections`, `injection_scores` and `completeness` under the slice GENERATION-des46, and a
    contact sheet goes to the folder of the score batches.
    """
    from pipeline.verbs.foreign import inject_into_des, question

    name = inject_into_des(project(), folder, generation, per_radius)
    click.echo(f'done: dhs query "{question(generation)}"; picture in data/grid/{name}/')
