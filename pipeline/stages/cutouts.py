"""Cut-outs of negatives and matched listed objects, from brick coadds or the survey's service, packed into shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from etl.config import CutoutsParams
from etl.cutouts import cutting, packing
from etl.cutouts.cutting import Coadds, Sources
from etl.cutouts.service import Service
from etl.tables.scan import Named
from lake.files.publishing import published_folder
from lake.store import remoteshards
from pipeline.project.codecards import Code
from pipeline.project.sparkrun import SparkRun


def run(context: SparkRun, params: CutoutsParams) -> None:
    negatives = context.read("negatives", ordered=False)
    pool = context.scan("tractor_pool")(Named.of(negatives["galaxy_id"], cutting.KNOWN))
    candidates, near = context.read("lens_candidates"), context.read("tractor_near_candidates")
    wanted = Sources.of(cutting.requests(negatives, candidates, near, pool))
    code = Code().hash("etl/cutouts/cutter.py")
    work = context.work(params.digest(), dict(context.inputs), code)
    memory = context.root.work("cutouts", "made.parquet")
    index = _made(context, params, wanted, code, work / "stamps", packing.earlier(memory, context.root.cutouts, params))
    cutting.warn_of_unknown_conditions(index, wanted.ids[wanted.lacking])
    with published_folder(context.root.cutouts, work / "shards") as folder:
        index = packing.packed(index, work / "stamps", context.root.cutouts, folder, params)
        if context.survey.shards_uri is not None:
            remoteshards.send(folder, context.survey.shards_uri)
    packing.remember(memory, index, context.root.cutouts, params)
    context.publish(packing.rows(index), "cutouts")


def _made(
    context: SparkRun, params: CutoutsParams, wanted: Sources, code: str, folder: Path, earlier: pa.Table
) -> pa.Table:
    """An index of all sources, each from where the parameters say."""
    survey, collection = context.survey.folder, context.survey.collection
    by_service, parts = np.full(len(wanted), params.source == "service"), []
    if params.source != "service":
        wanted = wanted.in_bricks(survey, params)
        if params.source != "coadds":
            by_service = ~cutting.with_coadds(survey, wanted)
        coadds = Coadds(lambda: context.spark, survey, params, collection, code, context.shared(folder))
        parts.append(packing.completed(coadds, wanted.where(~by_service), folder, earlier))
        context.note_input("files", f"coadds in {survey}/coadds")
    if by_service.any():
        parts.append(packing.completed(Service(params, collection), wanted.where(by_service), folder, earlier))
        context.note_input("service", f"{params.service.url} layer {params.service.layer}")
    return pa.concat_tables(parts).sort_by("galaxy_id")
