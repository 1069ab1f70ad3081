"""Commands that show and check injections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lake.errors import invalid
from pipeline.commands.opening import FORMAT, OUT, NameOrTyped, Typed, project

_SURVEY_DEPTHS_MAG = (24.0, 23.4, 22.5)
"""Depths that the survey was designed for (Dey et al. 2019), g, r, z."""


def _what_is_injected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of prior, sources, hosts and noise; those not given are the grid's of params.yaml."""
    options = (
        click.option(
            "--prior", type=NameOrTyped(), metavar="NAME|FILE.yaml", help="Prior of the registry, or your own file."
        ),
        click.option(
            "--source-model", type=NameOrTyped("parametric"), metavar="parametric|PATH|package:object",
            help="Sersic profiles with clumps; real galaxies: a RealGalaxyCatalog (file or folder), an HDF5 bank; or a "
            "model of your own.",
        ),
        click.option(
            "--min-source-snr", default=30.0, show_default=True, help="Lowest SNR of a galaxy of a RealGalaxyCatalog."
        ),
        click.option(
            "--hosts", type=NameOrTyped("survey", "none"), metavar="survey|none|PATH", default="survey",
            show_default=True,
            help="The lake's validation negatives; blank sky; a folder of the 46 DES galaxies; cut-outs, NPZ or "
            "FITS cubes (folder or file).",
        ),
        click.option(
            "--host-selection", type=click.Choice(["all", "early"]), help="All hosts, or early types only (DEV, SER)."
        ),
        click.option(
            "--lens-shape", type=click.Choice(["independent", "conditioned"]),
            help="The lens's shape: the prior's, or like its host's.",
        ),
        click.option(
            "--psf-fwhm-nea", default=1.2, show_default=True,
            help="r-band psfsize (arcsec) of hosts without one: the FWHM of the Gaussian with the PSF's "
            "noise-equivalent area.",
        ),
        click.option(
            "--depth", nargs=3, type=float, default=_SURVEY_DEPTHS_MAG, show_default=True, metavar="G R Z",
            help="5-sigma point-source depths (mag) of blank sky.",
        ),
        click.option("--psf-model", type=click.Choice(["moffat", "gaussian"]), help="Profile of the PSF."),
        click.option(
            "--psf-beta", "psf_moffat_beta", nargs=3, type=float, metavar="G R Z",
            help="Exponents of the Moffat profile.",
        ),
        click.option(
            "--poisson-gain", "poisson_gain_e_per_nmgy", type=float, help="Gain (e-/nMgy) of the arc's Poisson noise."
        ),
        click.option(
            "--seed", type=click.IntRange(0, 2**31 - 1), help="Seed of all that is drawn; by default the survey's."
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_what_is_injected
@click.option(
    "--core-suppression-radius",
    "core_suppression_radius_arcsec",
    type=float,
    help="Radius (arcsec) around the lens within which light of the arc is removed.",
)
@click.option("--theta-e", type=float, help="Einstein radius (arcsec) of every example, instead of the prior's.")
@click.option("--mag", type=float, help="Unlensed r magnitude of every source, instead of the prior's.")
@click.option("--n", "count", default=16, show_default=True, type=click.IntRange(1, 400), help="How many examples.")
@click.option("--field", default=16.0, show_default=True, help="Side of the pictures (arcsec).")
@click.option("--out", type=Typed(dir_okay=False), default="render.png", show_default=True, help="The picture (.png).")
def render(theta_e: float | None, mag: float | None, count: int, field: float, out: Path, **options: Any) -> None:
    """Draw a contact sheet of injections: host, arc, host with arc.

    Needs no trained network, and with `--hosts none` no lake. Where no default is shown, the section `grid` of
    params.yaml has it.
    Example: dhs render --prior v1_wide --hosts none --theta-e 1.5 --mag 22 --out arcs.png
    """
    from lake.files import atomic
    from pipeline.experiment.choosing import chosen_setting
    from pipeline.verbs.rendering import render_sheet

    if out.suffix != ".png":
        raise invalid("out", "a file ending in .png", str(out))
    given = {"lens_theta_e_arcsec": theta_e, "src_mag_r": mag}
    fixed = {name: value for name, value in given.items() if value is not None}
    picture = render_sheet(chosen_setting(project(), **options), count, fixed, field)
    atomic.write_bytes(out, picture.content)
    click.echo(f"wrote {out}")


@click.command()
@_what_is_injected
@click.option("--generation", help="The finder; by default the first one audited.")
@click.option("--n", "count", default=500, show_default=True, type=click.IntRange(10), help="How many injections.")
@click.option(
    "--core-suppression-radius", default=0.5, show_default=True,
    help="Radius (arcsec) of the core suppression that detection is compared with.",
)  # fmt: skip
@click.option(
    "--lenses", type=NameOrTyped("survey", "none"), metavar="survey|none|PATH", default="survey", show_default=True,
    help="Real arcs to compare with: the listed lenses; none; or cut-outs, NPZ or FITS cubes (folder or file).",
)  # fmt: skip
@click.option(
    "--out", type=Typed(file_okay=False), help="Folder of the results; by default data/validation/GENERATION."
)
def validate_injection(
    generation: str | None, count: int, core_suppression_radius: float, lenses: str, out: Path | None, **options: Any
) -> None:
    """Check whether injections can be trusted; exit code 1 if something is broken.

    Scores (percentiles, saturation), detection with and without core suppression, bare hosts, SNR and colour of arcs
    against real ones, noise, exactness of the light. Leaves validation.png and validation.json. Where no default is
    shown, the section `grid` of params.yaml has it.
    Example: dhs validate-injection --n 1000
    """
    from analysis.comparisons.validation import broken
    from lake.errors import DataError
    from pipeline.experiment.choosing import chosen_setting
    from pipeline.verbs.validating import table, validate_injections, write

    place = project()
    setting = chosen_setting(place, **options)
    found = validate_injections(place, setting, generation, count, core_suppression_radius, lenses)
    folder = out or place.data.local / "validation" / str(found.facts["generation"])
    write(found, folder)
    click.echo(f"{table(found)}\n\nwrote {folder}/validation.png and validation.json")
    if problems := broken(found.outcome):
        raise DataError(f"injections cannot be trusted: {'; '.join(problems)}")


@click.command()
@click.option(
    "--width", type=float, required=True, metavar="PER_CENT", help="Width of the 95 % interval, in percentage points."
)
@click.option("--completeness", type=float, metavar="PER_CENT", help="Expected completeness; by default the grid's.")
@click.option(
    "--correlation",
    type=float,
    help="Correlation of two injections into one host, 0 to 1; by default measured on the grid.",
)
@click.option(
    "--uses",
    type=click.IntRange(1),
    multiple=True,
    help="Injections per host in a cell. Repeatable; by default each number from 1 to grid.max_uses_per_host.",
)
@click.option("--generation", help="The finder whose grid is measured; by default the report's headline.")
@click.option("--threshold", default="p0.5", show_default=True, help="Threshold at which it is measured.")
@FORMAT
@OUT
def plan_injections(style: str, out: Path | None, **asked: Any) -> None:
    """Show how many injections and hosts per cell an interval of a wanted width needs.

    The interval is the host-clustered one of the table completeness, at the counts that are expected. More injections
    into the same hosts help little where their outcomes are correlated: each row is one number of uses per host.

    Examples: dhs plan-injections --width 4; dhs plan-injections --width 2 --completeness 3.5 --correlation 0.3 --uses 1
    --uses 5
    """
    from pipeline.experiment.planning import planned
    from pipeline.tables.export import checked_out, deliver

    checked_out(out)
    deliver(planned(project(), **asked), out, short=True, style=style)


@click.group()
def bank() -> None:
    """Prepare real galaxies as sources of injections and of simulated stamps."""


@bank.command()
@click.argument("catalogues", nargs=-1, required=True, type=Typed(dir_okay=False))
@click.option("--out", type=Typed(dir_okay=False), default="data/bank.h5", show_default=True, help="The bank, HDF5.")
@click.option("--min-snr", default=20.0, show_default=True, help="Lowest SNR of a galaxy within its footprint.")
@click.option(
    "--psf-fwhm", type=float, metavar="ARCSEC",
    help="FWHM of the Gaussian that replaces each galaxy's PSF; without it, that PSF stays.",
)  # fmt: skip
@click.option(
    "--max-amplification",
    default=5.0,
    show_default=True,
    help="Largest amplification of a spatial frequency by --psf-fwhm.",
)
def build(
    catalogues: tuple[Path, ...], out: Path, min_snr: float, psf_fwhm: float | None, max_amplification: float
) -> None:
    """Build a bank of real galaxies from RealGalaxyCatalogs (.fits, with their images in the same folder).

    Sky and neighbours are removed and each galaxy gets unit flux. Files and galaxies that cannot be used are listed
    with their reason in a CSV file beside the bank.
    Example: dhs bank build real_galaxy_catalog_23.5.fits --psf-fwhm 0.06
    """
    from pipeline.verbs.banking import build_bank, cleaning_of

    project()
    click.echo(build_bank(catalogues, out, cleaning_of(min_snr, psf_fwhm, max_amplification)))
