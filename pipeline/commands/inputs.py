"""Commands about the survey's files, before a run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipeline.commands.opening import Typed, project


@click.command()
def preflight() -> None:
    """Check what a long run needs: files and bricks of the survey, disk space, the bank of source galaxies.

    Nothing is changed. Which bricks are needed is known once the stages `candidates` and `negatives` have run. Exit
    code 1 if anything is missing.
    """
    from pipeline.verbs.preflight import findings

    found = findings(project())
    width = max(len(each.what) for each in found)
    for each in found:
        click.echo(each.line(width))
    if any(each.good is False for each in found):
        sys.exit(1)


@click.command()
@click.option("--ra", nargs=2, type=float, metavar="LOW HIGH", help="Right ascension in degrees; 350 10 crosses RA 0.")
@click.option("--dec", nargs=2, type=float, metavar="LOW HIGH", help="Declination in degrees.")
@click.option("--bricks", help="Names of bricks (0001m002,0003m002), instead of --ra and --dec.")
@click.option(
    "--bricks-file", type=Typed(exists=True, dir_okay=False), help="The same, from a file with one name a line."
)
@click.option(
    "--only", type=click.Choice(["sweeps", "coadds"]), help="Fetch one of the two; by default, both are fetched."
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say what would be fetched and roughly how large it is; fetch only the lists of files.",
)
@click.option("--yes", is_flag=True, help="Do not ask before a large download.")
def download(
    ra: tuple[float, float] | None,
    dec: tuple[float, float] | None,
    bricks: str | None,
    bricks_file: Path | None,
    only: str | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Fetch sweeps and coadds of a region from the survey into survey.folder, laid out as the pipeline reads them.

    Start with `dhs params use dr10`, which chooses that folder, and with --dry-run. Files that are there and match
    their published checksum are not fetched again; interrupted downloads resume where they stopped. Addresses, kinds of
    coadds and the rate of requests are in params.yaml (`dhs params show download`). Put your e-mail address into
    download.web.contact, so that the survey can write to you instead of blocking you.

    \b
    Examples: dhs download --ra 150 151 --dec 2 3 --dry-run
              dhs download --bricks 1501p020,1503p020 --only coadds
    """
    from etl.config import DownloadParams
    from etl.web.release import Box
    from pipeline.verbs import downloading

    place = project()
    params = place.section(DownloadParams, "download")
    region = _region(ra, dec, bricks or bricks_file)
    text = (bricks or "").replace(",", " ") + " " + (bricks_file.read_text(encoding="utf-8") if bricks_file else "")
    plan = downloading.planned(
        place, params, Box(*region) if region else None, text.split(), [only] if only else ["sweeps", "coadds"]
    )
    for kind, files, bare, size in plan.lines():
        unchecked = f" ({bare} without a published checksum)" if bare else ""
        click.echo(f"{kind}: {files} files, about {size:.2f} GB{unchecked}")
    click.echo(f"{len(plan.files)} files to fetch into {plan.folder}, about {plan.gigabytes:.2f} GB")
    if dry_run or not plan.files:
        return
    downloading.require_room(plan)
    if plan.gigabytes > params.confirm_above_gb and not yes:
        click.confirm("Fetch them?", abort=True)
    if not downloading.report(downloading.fetched(plan, params), click.echo):
        sys.exit(1)


def _region(
    ra: tuple[float, float] | None, dec: tuple[float, float] | None, bricks: object
) -> tuple[float, float, float, float] | None:
    """The box in degrees, or None where bricks are given; one of the two is required."""
    if (ra is None) != (dec is None) or (ra is None) == (bricks is None):
        raise click.UsageError("give --ra and --dec, or --bricks or --bricks-file")
    return (*ra, *dec) if ra is not None and dec is not None else None
