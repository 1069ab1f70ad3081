"""Commands that exchange selection functions with other teams: imports and exports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lake.errors import invalid
from pipeline.commands.opening import NameOrTyped, Typed, project

_FILE = Typed(exists=True, dir_okay=False)


def _families(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    for value in values:
        if not all(value.partition("=")):
            raise invalid("family", 'PREFIX=MEANING, such as lensed="lensed r magnitude"', value)
    return dict(value.split("=", 1) for value in values)


def _declared(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every import."""
    options = (
        click.option("--meta", type=_FILE, required=True, help="JSON file of facts that belongs to FILE."),
        click.option("--name", required=True, help="Name of the import: its `generation` and slice in the tables."),
        click.option(
            "--prior", type=NameOrTyped("not recorded"), metavar="NAME|FILE.yaml|'not recorded'",
            help="Prior of the injections, if the JSON file has no key `prior`.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.group("import")
def import_() -> None:
    """Import selection functions that others measured, or weights of networks trained elsewhere.

    Selection functions become slices of `completeness` with origin 'foreign': they are queried like our own rows and
    never enter the view completeness_main. `dhs forget NAME` removes an import.
    """


@import_.command("completeness")
@click.argument("file", type=_FILE)
@_declared
@click.option(
    "--family", "families", multiple=True, callback=_families, metavar="PREFIX=MEANING",
    help="What the magnitude bins with this prefix divide; every prefix must be declared. Repeatable.",
)  # fmt: skip
def import_completeness(file: Path, meta: Path, name: str, prior: str | None, families: dict[str, str]) -> None:
    """Import counts per cell: a CSV file in the layout of `dhs export completeness`.

    \b
    Columns: theta_e, psf_fwhm, depth_5sig (centres of the cell), threshold, threshold_type (fixed or FPR=1.0e-03),
    fpr_target, source_mag_bin (all, 23-24, PREFIX_20-22), n_injections, n_detected, n_failed, completeness, and
    optionally ci68_lo, ci68_hi, ci95_lo, ci95_hi, mean_score, mean_arc_snr, sufficient, and what our exports have
    besides: the rate of each threshold, and the ranges over unlisted lenses.

    Intervals and marginals are computed again from the counts; hosts are not known, so there is no host-clustered
    interval. Every figure of the file that does not follow from its counts is a row of `import_disagreements`; rows
    that cannot be used go to `quarantine`. Keys of the JSON file declare what the numbers mean: prior,
    source_mag_families, selection (> or >=), psf_width (fwhm_nea or fwhm), threshold_sample.

    Example: dhs import completeness selection_function.csv --meta selection_function_meta.json --name gen4-d06
    --prior "not recorded" --family lensed="lensed r magnitude"
    """
    from pipeline.finders.importing import Given, import_cells

    click.echo(import_cells(project(), Given.of(file, meta, prior, families), name))


@import_.command("objects")
@click.argument("file", type=_FILE)
@_declared
@click.option("--missed", type=_FILE, help="List of the missed lenses, if FILE lists only the found ones.")
def import_objects(file: Path, meta: Path, name: str, prior: str | None, missed: Path | None) -> None:
    """Import simulated lenses one by one, found or missed: a CSV file with columns id and found (true or false).

    Without a column found, FILE lists the found lenses and --missed the others. Columns score (probability), theta_e
    (arcsec) and src_mag (mag) are kept in `foreign_objects` too. The JSON file must say how many lenses were simulated
    and at which threshold they were found, {"simulated": 1574, "threshold": 0.5, "prior": "not recorded"}: a list
    without its missed lenses is refused. Further keys: fpr_target, theta_e_edges, src_mag_edges, src_mag_family.

    Example: dhs import objects found.csv --missed missed.csv --meta facts.json --name hudf
    """
    from pipeline.finders.importing import Given
    from pipeline.finders.importing import import_objects as run

    click.echo(run(project(), Given.of(file, meta, prior, {}), missed, name))


@import_.command("checkpoint")
@click.argument("file", type=_FILE)
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--like", required=True, metavar="GENERATION", help="Generation with the same network and preprocessing.")
@click.option("--name", required=True, help="Name of the checkpoint.")
@click.option(
    "--trained-on", type=_FILE, metavar="LIST.csv", help="What it was trained on: galaxy_id, or ra and dec (degrees)."
)
def import_checkpoint(file: Path, settings: tuple[str, ...], like: str, name: str, trained_on: Path | None) -> None:
    """Import the weights of a network trained elsewhere: a file of torch.save (best.pt) or safetensors.

    Only weights are read; a file that would have to run code to be read is refused. Network and preprocessing are those
    of the generation --like, with the changes given as KEY=VALUE; weights of another network are refused. The result is
    a checkpoint: `dhs audit NAME` measures it, and generations may start from it. `dhs forget NAME` removes it.
    Example: dhs import checkpoint best.pt --like gen2 --name paper4-gen2 preprocessing.annulus=[20,32]
    """
    from pipeline.finders.weights import import_checkpoint as run

    made = run(project(), file, name, like, settings, trained_on)
    click.echo(f"{name}: checkpoint {made.card.checkpoint_id}, {made.card.config.network.name}, preprocessing:")
    click.echo("  " + ", ".join(f"{key} {value}" for key, value in made.card.preprocessing.model_dump().items()))
    click.echo(f"`dhs audit {name}` measures it")


@click.group()
def export() -> None:
    """Write results in layouts that others read."""


@export.command("completeness")
@click.argument("name")
@click.option("--out", type=Typed(dir_okay=False), required=True, help="CSV file; FILE_meta.json is written with it.")
def export_completeness(name: str, out: Path) -> None:
    """Write the completeness of NAME (a finder, or an import) cell by cell, for `dhs import completeness` elsewhere.

    Example: dhs export completeness demo1 --out demo1.csv
    """
    from pipeline.finders.importing import export_cells

    rows, meta = export_cells(project(), name, out)
    click.echo(f"{rows} rows written to {out}, and their description to {meta}")
