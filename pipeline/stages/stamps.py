"""One set of simulated training stamps: a plan's lenses and controls, rendered into the coadds by Spark's tasks."""

from __future__ import annotations

from etl.simulated import rendering
from injection.experiment.training_stamps import StampRenderer, source_model
from lake.files.publishing import published_folder
from lake.sky.survey import SURVEY
from pipeline.experiment.stampparams import StampsParams
from pipeline.project.codecards import Code
from pipeline.project.sparkrun import SparkRun


def run(context: SparkRun, params: StampsParams) -> None:
    name, code = context.generation, Code()
    chosen, cutting = params.chosen(name), params.cutting
    plan = context.read_spark("injection_manifest", [chosen.plan])
    sources = source_model(params.rendering, chosen)
    context.note_input("sources", str(sources.identity))
    render = StampRenderer(params.rendering, chosen.psf_model, sources, context.seed, SURVEY)
    made_by = [code.hash(module) for module in ("etl/simulated/shards.py", "injection/experiment/training_stamps.py")]
    work = context.work(params.digest(exclude={"sets"}), chosen.digest(), context.seed, dict(context.inputs), made_by)
    survey = context.survey.folder
    with published_folder(context.root.stamps(name), work / "shards"):
        rows = rendering.rendered(context.spark, plan, survey, cutting, render, work)
        context.note_input("files", f"coadds in {survey}/coadds")
        context.publish(rows.frame, "stamps", name, {"set_name": name}, judged=rows.count)
