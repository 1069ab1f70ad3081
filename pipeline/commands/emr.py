"""Stages on EMR."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.commands.opening import Typed, project


@click.group()
def emr() -> None:
    """Run Spark stages on a cluster of AWS EMR (see docs/emr.md)."""


@emr.command()
@click.argument("stage")
@click.option("--generation", "--manifest", help="The finder or manifest, for stages that run once for each.")
@click.option(
    "--cluster",
    type=Typed(exists=True, dir_okay=False),
    required=True,
    help="YAML file that describes the cluster (docs/emr.md).",
)
@click.option("--limit-files", type=click.IntRange(1), help="Read only this many sweep files; by default all.")
@click.option("--limit-rows", type=click.IntRange(1), help="Read only this many rows; by default all.")
def submit(stage: str, generation: str | None, cluster: Path, limit_files: int | None, limit_rows: int | None) -> None:
    """Run STAGE on EMR with the parameters of params.yaml and bring its cards back.

    Example: dhs emr submit pool --cluster cluster.yaml --limit-files 2
    """
    from etl.emr.cluster import EmrParams
    from etl.emr.submission import submit as run
    from lake.files.strictyaml import read_mapping
    from lake.names import checked_name
    from pipeline.verbs.submitting import submission

    if generation is not None:
        checked_name(generation, "generation")
    place = project()
    limits = {"limit_files": limit_files, "limit_rows": limit_rows}
    work = submission(place, stage, generation, {key: value for key, value in limits.items() if value is not None})
    made = run(work, EmrParams.load(read_mapping(cluster), str(cluster)), place.data, place.folder.resolve())
    click.echo("\n".join(made))
