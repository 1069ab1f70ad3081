"""One set of simulated training stamps: a plan's lenses and controls, rendered into the coadds by Spark's tasks."""

from __future__ import annotations

from etl.simulated import rendering
from etl.simulated.shards import ShardMaker
from injection.experiment.training_stamps import StampRenderer, prior_of_lenses, source_model
from lake.files import storage
from lake.files.publishing import published_folder
from lake.sky.survey import SURVEY
from lake.store import remoteshards
from pipeline.experiment.stampparams import StampsParams
from pipeline.project.codecards import Code
from pipeline.project.sparkrun import SparkRun


def run(context: SparkRun, params: StampsParams) -> None:
    name, code = context.generation, Code()
    chosen, cutting = params.chosen(name), params.cutting
    plan = context.read_spark("injection_manifest", [chosen.plan])
    sources = source_model(params.rendering, chosen)
    context.note_input("sources", str(sources.identity))
    prior = prior_of_lenses(params.rendering)
    context.note_input("prior", prior.digest())
    render = StampRenderer(params.rendering, prior, chosen.psf_model, sources, context.seed, SURVEY)
    made_by = [code.hash(module) for module in ("etl/simulated/shards.py", "injection/experiment/training_stamps.py")]
    work = context.work(params.digest(exclude={"sets"}), chosen.digest(), context.seed, dict(context.inputs), made_by)
    survey = context.survey.folder
    shared, store = context.shared(work), context.survey.shards_uri
    in_work = storage.below(shared, "shards") if shared else None
    maker = ShardMaker(storage.absolute(survey), shared or str(work.resolve()), cutting, render, store or in_work)
    with published_folder(context.root.stamps(name), work / "shards") as folder:
        rows = rendering.rendered(context.spark, plan, maker)
        if store is not None:
            remoteshards.leave_list(folder, rows.stored)
        elif shared is not None:
            remoteshards.bring(folder, rows.stored, f"stamps@{name}")
        context.note_input("files", f"coadds in {survey}/coadds")
        context.publish(rows.frame, "stamps", name, {"set_name": name}, judged=rows.count)
