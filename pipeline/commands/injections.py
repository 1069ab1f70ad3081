"""Commands that show and check injections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lake.errors import invalid

_SURVEY_DEPTHS_MAG = (24.0, 23.4, 22.5)
"""Depths that the survey was designed for (Dey et al. 2019), g, r, z."""


def _what_is_injected(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of prior, sources, hosts and noise; those not given are the grid's of params.yaml."""
    options = (
        click.option("--prior", metavar="NAME|FILE.yaml", help="Prior of the registry, or a file of your own."),
        click.option(
            "--source-model", metavar="parametric|PATH", default="parametric", show_default=True,
            help="Sersic profiles with clumps, or real galaxies: a RealGalaxyCatalog (file or folder), an HDF5 bank.",
        ),
        click.option("--min-source-snr", default=30.0, show_default=True, help="Least SNR of a catalogue's galaxy."),
        click.option(
            "--hosts", metavar="survey|none|PATH", default="survey", show_default=True,
            help="The lake's validation negatives; blank sky; a folder of the 46 DES galaxies; NPZ cut-outs (folder or "
            "file).",
        ),
        click.option("--host-model", type=click.Choice(["IM1", "IM2"]), help="IM2: the lens is shaped like its host."),
        click.option(
            "--psf-fwhm", default=1.2, show_default=True, help="r-band FWHM (arcsec) of hosts that do not know theirs."
        ),
        click.option(
            "--depth", nargs=3, type=float, default=_SURVEY_DEPTHS_MAG, show_default=True, metavar="G R Z",
            help="5-sigma point-source depths (mag) of blank sky.",
        ),
        click.option("--psf-model", type=click.Choice(["moffat", "gaussian"]), help="Profile of the PSF."),
        click.option("--psf-beta", type=float, help="Exponent of the Moffat profile."),
        click.option("--poisson-gain", type=float, help="Gain (e-/nMgy) of the arc's Poisson noise."),
        click.option("--seed", type=int, help="By default the survey's."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_what_is_injected
@click.option("--core-suppression-radius", type=float, help="Radius (arcsec) round the lens without arc light.")
@click.option("--theta-e", type=float, help="Einstein radius (arcsec) of every example, instead of the prior's.")
@click.option("--mag", type=float, help="Unlensed r magnitude of every source, instead of the prior's.")
@click.option("--n", "count", default=16, show_default=True, type=click.IntRange(1, 400), help="How many examples.")
@click.option("--field", default=16.0, show_default=True, help="Side of the pictures (arcsec).")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default="render.png", show_default=True)
def render(theta_e: float | None, mag: float | None, count: int, field: float, out: Path, **options: Any) -> None:
    """Draw a contact sheet of injections: host, arc, host with arc.

    Needs no trained network, and with `--hosts none` no lake. Example:
    dhs render --prior v1_wide --hosts none --theta-e 1.5 --mag 22 --out arcs.png
    """
    from pipeline.injecting import Choice
    from pipeline.rendering import Wanted, render_sheet

    if out.suffix != ".png":
        raise invalid("out", "a file ending in .png", str(out))
    given = {"lens_theta_e_arcsec": theta_e, "src_mag_r": mag}
    fixed = {name: value for name, value in given.items() if value is not None}
    setting = Choice(**options).setting()
    picture = render_sheet(Wanted(count, fixed, field), setting)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(picture.content)
    click.echo(f"wrote {out}")
