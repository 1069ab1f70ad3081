"""Cut-outs of negatives and matched candidates from the brick coadds, packed into shards."""

from __future__ import annotations

from pathlib import Path

from etl.config import CutoutsParams
from etl.cutouts import cutting
from lake.files.publishing import published_folder
from pipeline.project.codecards import Code
from pipeline.project.sparkrun import SparkRun


def run(context: SparkRun, params: CutoutsParams) -> None:
    wanted = cutting.requests(
        context.read_spark("negatives"),
        context.read_spark("lens_candidates"),
        context.read_spark("tractor_near_candidates"),
        context.read_spark("tractor_pool"),
    )
    survey = Path(context.survey.folder)
    source = context.survey.collection
    work = context.work(params.digest(), dict(context.inputs), Code().hash("etl/cutouts/cutter.py"))
    index = cutting.extract(context.spark, wanted, survey, params, work)
    with published_folder(context.root.cutouts, work / "shards") as folder:
        rows = cutting.assemble(index, work, folder, params, source)
    context.note_input("files", f"coadds in {survey}/coadds")
    context.publish(rows, "cutouts")
