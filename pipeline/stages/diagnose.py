"""Diagnostics of one finder and of the data it was judged on, each with its gate; then its line in the registry."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.config import DiagnoseParams
from analysis.diagnostics.annulus import annulus_comparison
from analysis.diagnostics.flux_check import flux_check
from analysis.diagnostics.masked_pixels import masked_pixels
from analysis.diagnostics.real_lenses import real_lens_recall
from analysis.diagnostics.realism import realism_gate
from analysis.diagnostics.split_balance import split_balance
from analysis.records import Outcome, merge
from analysis.results.features import features_of
from analysis.results.trivial import Rivalry, baseline, shortcuts
from analysis.statistics.thresholds import Threshold, from_rows
from lake.files import atomic
from lake.progress import track
from lake.sky.hashing import key_hash
from lake.sky.survey import SURVEY
from lake.store.stamps import StampStore
from modeling.scoring.card import FINDER, read_card
from modeling.scoring.scorer import load_scorer
from pipeline.experiment.realism import populations
from pipeline.experiment.trainedon import LISTED, read_listed
from pipeline.project.context import RunContext

_CHUNK = 512


def run(context: RunContext, params: DiagnoseParams) -> None:
    generation = context.generation
    manifest = context.read("manifest", slices=[context.survey.audit_manifest]).to_pandas()
    scores = context.read("scores", slices=[generation]).to_pandas()
    objects = manifest.merge(scores[["galaxy_id", "score", "probability", "seen_in_training"]], on="galaxy_id")
    points = from_rows(context.read("thresholds", slices=[generation]).to_pandas())
    store = StampStore(context.root.cutouts)
    rng = np.random.default_rng(context.seed)
    outcome = merge(
        "diagnose",
        [
            split_balance(manifest, _fractions(context), SURVEY, params),
            _masked(context, params),
            _recall(objects, points),
            *_pixel_checks(context, objects, store, points, params),
            _realism(context, objects, store, params, rng),
        ],
    )
    context.write_outcome(outcome, f"diagnose-{generation}")
    _write_baseline(context, outcome, objects[objects["split"] == "test"]["label"])
    folder = context.root.checkpoints(generation)
    line = _audited(folder) if (folder / FINDER).exists() else _trained(folder)
    own = {"origin": generation, "generation": generation, "status": "valid", "source": "trained", **line}
    context.write("experiments", [own], generation, {"origin": generation})


def _write_baseline(context: RunContext, outcome: Outcome, labels: pd.Series) -> None:
    """Test scores of the trivial-feature classifier, in the order of the manifest: the report draws its ROC."""
    rows = [
        {"label": int(label), "score": float(score)}
        for label, score in zip(labels, outcome.arrays["trivial_scores"], strict=True)
    ]
    atomic.write_text(context.root.baselines / f"{context.generation}.json", json.dumps(rows) + "\n")


def _fractions(context: RunContext) -> tuple[float, float, float]:
    split = context.survey.split
    return (split.train_below, split.val_below - split.train_below, 1.0 - split.val_below)


def _masked(context: RunContext, params: DiagnoseParams) -> Outcome:
    cutouts = context.read("cutouts", ["status", "nan_fraction", "zero_fraction"])
    good = cutouts.filter(pc.equal(cutouts["status"], "ok"))
    return masked_pixels(good["nan_fraction"].to_numpy(), good["zero_fraction"].to_numpy(), params)


def _recall(objects: pd.DataFrame, points: Sequence[Threshold]) -> Outcome:
    lenses = objects[(objects["label"] == 1) & (objects["split"] == "test")]
    training = objects.loc[objects["split"] == "train", "healpix_128"].unique()
    return real_lens_recall(lenses, training, points)


def _pixel_checks(
    context: RunContext,
    objects: pd.DataFrame,
    store: StampStore,
    points: Sequence[Threshold],
    params: DiagnoseParams,
) -> list[Outcome]:
    """The checks that read stamps: trivial baseline and shortcuts on train and test, annuli and fluxes on a sample."""
    chosen = objects[objects["split"].isin(("train", "test"))].reset_index(drop=True)
    starts = track(range(0, len(chosen), _CHUNK), "measure stamps")
    features = features_of((store.get(chosen.iloc[s : s + _CHUNK]) for s in starts), SURVEY, params)
    label, split = chosen["label"].to_numpy(), chosen["split"].to_numpy()
    sample = _sample(chosen, params.sample_per_class, context.seed)
    fluxes = context.read(
        "tractor_pool", ["galaxy_id", *(f"flux_{band}" for band in SURVEY.bands)], ordered=False
    ).to_pandas()
    known = chosen[["galaxy_id"]].merge(fluxes, on="galaxy_id", how="left")
    listed = known[f"flux_{SURVEY.reference_band}"].notna().to_numpy() & sample
    rivalry = Rivalry(tuple(p.target_fpr for p in points if p.status == "measured"), params.trivial_replicates)
    return [
        baseline(features, label, split, context.seed, chosen["score"].to_numpy(), rivalry),
        shortcuts(features, label, split, SURVEY, params),
        annulus_comparison(
            features[sample].reset_index(drop=True), chosen[sample].reset_index(drop=True), SURVEY, params
        ),
        flux_check(features[listed].reset_index(drop=True), known[listed].reset_index(drop=True), SURVEY, params),
    ]


def _sample(objects: pd.DataFrame, per_class: int, seed: int) -> np.ndarray:
    """Mask of up to ``per_class`` objects of each label, by keyed hash."""
    order = pd.Series(key_hash(seed, pa.array(objects["galaxy_id"])))
    rank = order.groupby(objects["label"]).rank(method="first")
    return (rank <= per_class).to_numpy()


def _realism(
    context: RunContext, objects: pd.DataFrame, store: StampStore, params: DiagnoseParams, rng: np.random.Generator
) -> Outcome:
    scorer = load_scorer(context.root.checkpoints(context.generation))
    pairs, space = populations(context, objects, store, scorer, params)
    return realism_gate(pairs, "injections_against_listed_lenses", space, params, rng)


def _trained(folder: Path) -> dict[str, object]:
    """The registry's line of our own training run."""
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
        "key_finding": f"best validation AUC {card.best_val_auc:.4f} at epoch {card.best_epoch}",
    }


def _audited(folder: Path) -> dict[str, object]:
    """The registry's line of the audit of a user's own finder."""
    scorer = load_scorer(folder)
    listed = folder / LISTED
    known = "its training set is not known here"
    if listed.exists():
        known = f"{read_listed(listed).num_rows} training objects are listed"
    return {
        "run_id": f"audit-{scorer.checkpoint_id}",
        "kind": "evaluation",
        "checkpoint_id": scorer.checkpoint_id,
        "network": scorer.name,
        "key_finding": f"audited as a user's own finder; {known}",
    }
