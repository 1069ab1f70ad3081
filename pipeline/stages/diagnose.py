"""Diagnostics of one finder and of the data it was evaluated on, with their gates; then its row in the registry."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pyarrow.compute as pc

from analysis.config import DiagnosticParams
from analysis.diagnostics import discovery
from analysis.diagnostics.subject import Subject
from analysis.statistics.completeness import equally_weighted
from analysis.statistics.thresholds import from_rows
from lake.files import atomic
from lake.sky.survey import SURVEY
from lake.store.stamps import StampStore
from modeling.scoring.card import FINDER, read_card
from modeling.scoring.scorer import load_scorer
from pipeline.experiment.lenshosts import lens_host_weights
from pipeline.experiment.rescoring import rescoring
from pipeline.experiment.trainedon import LISTED, read_listed
from pipeline.experiment.trials import trial_weights
from pipeline.project.context import RunContext
from pipeline.realism.arcstamps import arc_stamps
from pipeline.realism.closure import audit_manifest, scored_objects, survey_chain
from pipeline.realism.listedlenses import lens_parameters, lens_table, listed, scored_injections, true_lenses
from pipeline.realism.realism import populations
from pipeline.realism.transplanting import transplants

_FLUXES = tuple(f"flux_{band}" for band in SURVEY.bands)


def run(context: RunContext, params: DiagnosticParams) -> None:
    generation = context.generation
    outcome = discovery.run(discovery.found(), subject(context, params))
    context.write_outcome(outcome, f"diagnose-{generation}")
    # Labels and scores of the trivial-feature classifier on the test split: the report draws its ROC.
    scored = zip(*(outcome.arrays.get(name, ()) for name in ("trivial_labels", "trivial_scores")), strict=True)
    baseline = json.dumps([{"label": int(label), "score": float(score)} for label, score in scored])
    atomic.write_text(context.root.baselines / f"{generation}.json", baseline + "\n")
    folder = context.root.checkpoints(generation)
    line = _audited(folder) if (folder / FINDER).exists() else _trained(folder)
    where = {"checkpoint_id": str(line["checkpoint_id"]), "generation": generation}
    context.write("test_lenses", lens_table(outcome, where), generation, where)
    own = {"origin": generation, "generation": generation, "status": "valid", "source": "trained", **line}
    context.write("experiments", [own], generation, {"origin": generation})


def subject(context: RunContext, params: DiagnosticParams) -> Subject:
    """What the diagnostics of one finder look at."""
    generation, split = context.generation, context.survey.split
    manifest = audit_manifest(context)
    objects = scored_objects(context, manifest)
    cutouts = context.read("cutouts", ["status", "nan_fraction", "zero_fraction"])
    store, scorer = StampStore(context.root.cutouts), load_scorer(context.root.checkpoints(generation))
    return Subject(
        manifest=manifest,
        objects=objects,
        cutouts=cutouts.filter(pc.equal(cutouts["status"], "ok")).to_pandas(),
        fluxes=context.read("tractor_pool", ["galaxy_id", *_FLUXES], ordered=False).to_pandas(),
        imaging=SURVEY,
        thresholds=from_rows(context.read("thresholds", slices=[generation]).to_pandas()),
        fractions=(split.train_below, split.val_below - split.train_below, 1.0 - split.val_below),
        seed=context.seed,
        params=params,
        stamps=store.get,
        populations=lambda own: populations(context, objects, store, scorer, own),
        closure=lambda own: survey_chain(context, objects, store, scorer, own),
        arcs=lambda own: arc_stamps(context, objects, store, own),
        transplants=lambda own: transplants(context, objects, store, scorer, own),
        trials=context.read("trials", slices=[generation]).to_pandas(),
        rescoring=lambda: rescoring(context.root.checkpoints(generation), store),
        listed=listed(context),
        ungraded=context.read("ungraded_scores", slices=[generation]).to_pandas(),
        injections=scored_injections(context),
        true_lenses=true_lenses(context),
        trial_weights=partial(trial_weights, context),
        completeness=equally_weighted(context.read("completeness", slices=[generation]).to_pandas()),
        host_weights=partial(lens_host_weights, context),
        lenses=lens_parameters(context, objects),
    )


def _trained(folder: Path) -> dict[str, object]:
    """The registry's row of our own training run."""
    card = read_card(folder)
    return {
        "run_id": card.run_id,
        "kind": "training",
        "config_hash": card.config_sha256[:16],
        "checkpoint_id": card.checkpoint_id,
        "manifest_fingerprint": card.manifest_fingerprint,
        "network": card.config.network.name,
        "best_val_auc": card.best_val_auc,
        "best_epoch": card.best_epoch,
        "epochs_run": card.epochs_run,
        "key_finding": card.finding(),
    }


def _audited(folder: Path) -> dict[str, object]:
    """The registry's row of the audit of a user's own finder."""
    scorer = load_scorer(folder)
    known = "its training set is not known here"
    if (folder / LISTED).exists():
        known = f"{read_listed(folder / LISTED).num_rows} training objects are listed"
    return {
        "run_id": f"audit-{scorer.checkpoint_id}",
        "kind": "evaluation",
        "checkpoint_id": scorer.checkpoint_id,
        "network": scorer.name,
        "key_finding": f"audited as a user's own finder; {known}",
    }
