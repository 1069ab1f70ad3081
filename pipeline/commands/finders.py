"""Commands about finders and their results."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lake.errors import invalid, not_one_of
from lake.names import PATTERN
from pipeline.commands.opening import FORMAT, OUT, NameOrTyped, Typed, on_cutouts, project

if TYPE_CHECKING:
    from pipeline.project.project import Project

NAMED = re.compile(PATTERN)
_GENERATION = click.option("--generation", required=True, help="The finder.")
_CALIBRATOR = click.option(
    "--calibrator",
    type=click.Choice(["temperature", "platt", "beta", "isotonic"]),
    default="platt",
    show_default=True,
    help="Which of the finder's calibrators gives the column `calibrated`.",
)
_FOLDER = click.argument("folder", type=Typed(exists=True, file_okay=False))


@click.command()
@click.argument("finder", metavar="FINDER", type=NameOrTyped())
@click.option("--name", help="Name of the finder in tables and the report; by default, that of a network trained here.")
@click.option(
    "--output",
    type=click.Choice(["logits", "probabilities"]),
    help="What the finder returns, if it does not declare it.",
)
@click.option(
    "--trained-on",
    type=Typed(exists=True, dir_okay=False),
    metavar="LIST.csv",
    help="What the finder was trained on: galaxy_id, or ra and dec (degrees); leakage is then measured.",
)
@click.option(
    "--within",
    default=1.0,
    show_default=True,
    help="Radius (arcsec) within which an object matches a listed position.",
)
@click.option(
    "--average",
    is_flag=True,
    help="Audit a network trained here with its logits averaged over a stamp's eight orientations, as FINDER-averaged.",
)
@on_cutouts("Audit")
def audit(
    finder: str,
    name: str | None,
    output: Any,
    average: bool,
    cutouts: Path | None,
    describe: Path | None,
    **training: Any,
) -> None:
    """Measure the completeness of a finder (minutes on the demo survey, hours on a large one).

    FINDER is the name of a network that was trained or imported here; or a file with a TorchScript (.pt) or ONNX
    (.onnx) network; or package:object, which is installed or is in the project's folder: a function, an object with
    `score`, a class that makes one, or a torch module. It takes stamps (batch, band, y, x) in nanomaggies, bands g, r,
    z, and returns one logit per stamp (or a probability, if it declares that). Your own is tried on stamps of this lake
    first; one that fails changes nothing.
    Examples: dhs audit my_finder:finder --name mine; dhs audit demo1; dhs audit demo1 --average

    With --cutouts and --describe it is measured on a folder of labelled cut-outs (NPZ, FITS, HDF5), in their own
    bands and pixels, without a survey, DVC or Java; FINDER may then be a checkpoint of ours too (its folder or
    best.safetensors in it). A third of the negatives fixes thresholds, a third hosts injections, a third is the
    test sample. Results are slices NAME-SET of the lake's tables, and a page in data/audits. If interrupted, run the
    same command again: it resumes where it stopped.
    Example: dhs audit model.onnx --name mine --cutouts hsc/ --describe hsc/set.yaml
    """
    from pipeline.finders import audit as audits
    from pipeline.finders.reproduce import closing_words

    listed = audits.TrainedOn(training["trained_on"], training["within"]) if training["trained_on"] else None
    if (cutouts is None) != (describe is None):
        raise invalid("--cutouts and --describe", "given together", str(cutouts or describe))
    place = project()
    ours = NAMED.fullmatch(finder) is not None and audits.is_ours(place, finder)
    if cutouts is not None and describe is not None:
        if average:
            raise invalid("--average", "given without --cutouts", str(cutouts))
        source = str(place.data.checkpoints(finder)) if ours else finder
        _audit_cutouts(place, source, cutouts, describe, name or (finder if ours else None), output, listed)
        return
    if average:
        _audit_averaged(place, finder, name, ours and output is None and listed is None)
    elif ours and name is None:
        if output is not None or listed is not None:
            raise invalid("FINDER", "your own, for --output and --trained-on: both are known for one made here", finder)
        audits.audit_trained(place, finder)
    else:
        audits.audit(place, finder, _given(finder, name, place), output, listed)
    click.echo(closing_words(place))


def _given(finder: str, name: str | None, place: Project) -> str:
    """The name; without one, FINDER is taken for a misspelt network of ours."""
    from modeling.config import generations
    from pipeline.project.params import own_generations

    if name is not None:
        return name
    if NAMED.fullmatch(finder):
        if finder in {*generations(), *own_generations(place.folder)}:
            raise invalid("FINDER", f"trained first (`dhs train {finder}`)", finder)
        raise not_one_of("FINDER", sorted({*place.trained, *place.data.finders()}), finder)
    raise invalid("--name", "given with a finder of your own", name)


def _audit_averaged(place: Project, finder: str, name: str | None, possible: bool) -> None:
    from pipeline.finders.ensembling import audit_averaged

    if not possible:
        what = "given with a network that was trained or imported here, without --output and --trained-on"
        raise invalid("--average", what, finder)
    audit_averaged(place, finder, name or f"{finder}-averaged")


def _audit_cutouts(
    place: Project, finder: str, cutouts: Path, describe: Path, name: str | None, output: Any, listed: Any
) -> None:
    from pipeline.finders.cutoutaudit import Request, audit_cutouts, summary

    if name is None:
        raise invalid("--name", "given with a finder of your own", name)
    made = audit_cutouts(place, Request(finder, cutouts, describe, name, output, listed))
    click.echo(summary(place, made))


@click.command()
@click.argument("name")
def forget(name: str) -> None:
    """Remove the finder NAME that `dhs audit` added, or the import NAME, with its results; nothing else changes.

    Example: dhs forget mine
    """
    from pipeline.finders import audit as audits

    for removed in audits.forget(project(), name):
        click.echo(f"removed {removed}")
    click.echo("the report still shows it until `dvc repro report` remakes it")


@click.command()
@click.option("--generation", help="The finder; by default the report's headline.")
@click.option("--top", default=20, show_default=True, help="How many objects.")
@_CALIBRATOR
@OUT
def discoveries(generation: str | None, top: int, calibrator: str, out: Path | None) -> None:
    """Rank objects that are not in the candidate list by score, with RA, Dec and a link to the survey's viewer.

    `calibrated` is the probability of a lens where the fraction of lenses is `holds_at`, and `sky_probability` where it
    is `sky_share`, the declared one of the sky (docs/statistics.md). `probability` is the logistic of the score.
    Example: dhs discoveries --top 50 --out discoveries.csv
    """
    from pipeline.reporting import results
    from pipeline.tables.export import checked_out, deliver

    checked_out(out)
    deliver(results.discoveries(project(), generation, top, calibrator), out, short=True)


@click.command()
@click.option(
    "--threshold",
    metavar="NAME",
    help="Threshold of recall, false-positive rate, completeness; by default the headline's.",
)
@click.option("--invalid", is_flag=True, help="Include results of invalidated runs (`dhs registry` lists them).")
def compare(threshold: str | None, invalid: bool) -> None:
    """Compare the finders on the same test galaxies, injections and trials, with paired tests.

    Tables: the metrics of each; AUC (DeLong's paired test); recall, false-positive rate and completeness at one
    threshold (McNemar's test, and whole HEALPix pixels resampled). A difference below two standard errors is called
    indistinguishable. The last table is `finder_pairs`: whether a finder's low ceiling for bright arcs is due to the
    finder or to the arcs, judged by each other finder, and how completeness would change with that one.
    Example: dhs compare --threshold p0.5
    """
    from pipeline.reporting.results import comparison
    from pipeline.tables.export import deliver

    metrics, *paired = comparison(project(), threshold, invalid)
    deliver(metrics, None, short=True)
    for table in paired:
        if table.num_rows:
            click.echo()
            deliver(table, None, short=True)


@click.command()
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--finder", metavar="FINDER", help="The finder; by default the headline of the report, or the only one.")
@click.option("--list", "listed", is_flag=True, help="List every diagnostic with its question, and every campaign.")
@OUT
@FORMAT
def diagnose(name: str | None, finder: str | None, listed: bool, out: Path | None, style: str) -> None:
    """Repeat a diagnostic campaign of the reference system, D01 to D06, on a finder, and compare.

    The diagnostics of the campaign run with its sample sizes, those on trials with the trials that `dhs repro` made;
    findings, gates and figures stand beside those that the reference recorded for gen4 on its own survey. Rows go to
    diagnostics, gates, findings and figure_points under the run NAME-FINDER, which `dhs registry` lists; the report
    keeps those of `dhs repro`. --out and --format csv or json give the comparison alone, with every row.
    Examples: dhs diagnose --list; dhs diagnose D01; dhs diagnose D05 --finder demo2
    """
    from pipeline.finders.diagnosing import beside, campaign, described, finder_of, listing, repeat
    from pipeline.tables.export import checked_out, deliver

    checked_out(out)
    if listed or name is None:
        click.echo("\n".join(listing()))
        return
    campaign(name)
    place = project()
    chosen = finder_of(place, finder)
    run, outcome = repeat(place, name, chosen)
    rows = beside(name, outcome)
    if out is not None or style != "table":
        deliver(rows, out, style=style)
        return
    click.echo("\n".join(described(name, chosen, outcome)))
    if rows.num_rows:
        click.echo()
        deliver(rows, None)
    query = f"select name, value, low, high from diagnostics where run_id = '{run}'"
    click.echo(f'\nstored as run {run}: dhs query "{query}"')


@click.command()
@_FOLDER
@click.option(
    "--generation",
    "generations",
    multiple=True,
    required=True,
    metavar="NAME[@EPOCH]",
    help="The finder; with @EPOCH, its network after that epoch, if it was kept. Repeatable: files are read once.",
)
@click.option("--average", is_flag=True, help="Score with the mean logit over the eight orientations of each cut-out.")
@_CALIBRATOR
@OUT
def score(folder: Path, generations: tuple[str, ...], average: bool, calibrator: str, out: Path | None) -> None:
    """Score the cut-outs in FOLDER and its subfolders, one row per file, with the reason if there is no score.

    NPZ files with `cutout` (y, x, band) float32 nMgy and `meta_*` values; FITS cubes (band, y, x) as
    served by the survey's viewer. `calibrated` is the probability of a lens for objects like those of this lake, where
    the fraction of lenses is `holds_at`; `sky_probability` where it is `sky_share`. Both are empty for a network that
    was not evaluated here as it scores (an epoch, or --average).
    Example: dhs score cutouts --generation demo1 --generation demo2 --out scores.csv
    """
    from pipeline.tables.export import checked_out, deliver
    from pipeline.verbs.foreign import score_folder

    checked_out(out)
    deliver(score_folder(project(), folder, generations, average, calibrator), out)


@click.command()
@_FOLDER
@_GENERATION
@click.option("--per-radius", default=100, show_default=True, help="Injections per Einstein radius of the grid.")
def inject(folder: Path, generation: str, per_radius: int) -> None:
    """Inject lenses into the 46 DES galaxies of FOLDER (g.fits, r.fits, z.fits, seeing.txt); measure completeness.

    Rows go to `injections`, `injection_scores` and `completeness` under the slice GENERATION-des46, and a
    contact sheet goes to the folder of the score batches. Example: dhs inject des46 --generation demo1
    """
    from pipeline.verbs.foreign import inject_into_des, question

    name = inject_into_des(project(), folder, generation, per_radius)
    click.echo(f'done: dhs query "{question(generation)}"; picture in data/grid/{name}/')
