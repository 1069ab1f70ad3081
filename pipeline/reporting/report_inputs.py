"""Filling the report from the lake."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from analysis.comparisons import network
from analysis.config import ReportParams
from analysis.diagnostics.discovery import DiagnoseParams
from analysis.records import Measure, Outcome
from analysis.reporting.inputs import GenerationInputs, ReportInputs
from analysis.reporting.thresholds import points
from analysis.results.discoveries import ranked_candidates
from analysis.results.untouched import negatives_for, untouched
from analysis.statistics.completeness import equally_weighted
from injection.config import GridParams
from lake.errors import LakeError
from lake.provenance import git_commit, pipeline_version
from lake.root import DataRoot
from lake.sky.split import THRESHOLD
from lake.sky.survey import BANDS, SURVEY
from lake.store import cards, status
from lake.store.stamps import StampStore
from modeling.scoring import ensemble
from modeling.scoring.card import CARD, FINDER, read_card
from pipeline.experiment.emulating import emulator_tests
from pipeline.experiment.gridparams import grid_params
from pipeline.experiment.reweighting import dual_prior
from pipeline.project.context import RunContext
from pipeline.project.outputs import BATCHES, GRID
from pipeline.reporting import expectations
from pipeline.reporting.finderpairs import baselines
from pipeline.reporting.galleries import galleries
from pipeline.reporting.lensshares import lens_share
from pipeline.reporting.lineage import stage_edges
from pipeline.reporting.results import contamination, shown_first
from pipeline.reporting.yields import expected_lenses, galaxies

log = logging.getLogger(__name__)

_SPLIT = "test"
_PAST = "historical"
"""Origin of the epochs that the reference system recorded."""
_JUDGING = ("evaluate", "diagnose")
"""Stages that write diagnostics and gates of a finder."""
_OF_A_FINDER = ("injections", "injection_scores", "completeness", "trials", "test_lenses")
_INJECTION_COLUMNS = [
    *("grid_id", "injection_id", "galaxy_id", "lens_theta_e_arcsec", "src_mag_r", "src_beta_frac", "src_re_arcsec"),
    *("host_psf_fwhm_nea_r_arcsec", "host_depth_r_mag", "detectable", "arc_snr", "arc_flux_r_nmgy"),
]
_DESCRIBED = ["galaxy_id", "type_bin", "nobs_z_bin", "tier", "pool"]
_ANSWER_COLUMNS = ["injection_id", "status", "probability", "host_probability"]


def gather(context: RunContext, params: ReportParams) -> ReportInputs:
    """The inputs of the report, from tables at their pinned versions."""
    names, root = reported(context), context.root
    manifest = context.read("manifest", slices=[context.survey.audit_manifest]).to_pandas()
    found = [_generation(context, name, manifest, params) for name in names]
    gap_threshold = context.project.section(DiagnoseParams, "diagnose").gap_threshold  # type: ignore[attr-defined]
    headline = shown_first(names, params.headline_generation)
    epochs = context.read("training_epochs").to_pandas()
    pool, area = galaxies(context)
    return ReportInputs(
        imaging=SURVEY,
        params=params,
        survey_name=context.survey.name,
        simulated=context.survey.simulated,
        generations=with_networks(found, gap_threshold),
        headline=headline,
        manifest=manifest,
        ingest_counts=_of_survey(context, "ingest_counts"),
        quarantine=_of_survey(context, "quarantine"),
        training_epochs=epochs[epochs["origin"].isin(names)],
        past_epochs=epochs[epochs["origin"] == _PAST],
        experiments=registered(context.read("experiments").to_pandas(), root),
        candidates=_candidates(context, headline, manifest, params),
        grids={item.injections["grid_id"].iloc[0]: _grid(context, item.name) for item in found if len(item.injections)},
        baseline=_baseline(root, headline),
        galleries=galleries(context, manifest, headline, StampStore(root.cutouts), params),
        provenance=_provenance(context),
        left_out=[f"{run}: {why.of(run)}" for run, why in sorted(status.invalid_runs(root).items())],
        expectations=expectations.rows(root),
        pool=pool,
        area_deg2=area,
        stages=stage_edges(root),
        tables=_tables(context),
    )


def _candidates(context: RunContext, headline: str, manifest: pd.DataFrame, params: ReportParams) -> pd.DataFrame:
    """The unlisted objects that the headline finder ranks highest."""
    scores, maps = (context.read(table, slices=[headline]).to_pandas() for table in ("scores", "calibrations"))
    return ranked_candidates(scores, manifest, params.candidates_shown, maps)


def _baseline(root: DataRoot, headline: str) -> pd.DataFrame:
    """Labels and scores of the trivial classifier beside the headline finder; none where its diagnosis is invalid."""
    path, off = root.baselines / f"{headline}.json", status.invalid_results(root)
    counts = path.exists() and f"diagnostics.diagnose-{headline}" not in off
    return pd.read_json(path) if counts else pd.DataFrame()


def _provenance(context: RunContext) -> Mapping[str, str]:
    return {
        "commands": "dhs repro",
        "code commit": git_commit(),
        "package version": pipeline_version(),
        "configuration": f"params.yaml, {context.project.digest}",
        "survey parameters": context.survey.digest(),
        "seed": str(context.survey.seed),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def registered(experiments: pd.DataFrame, root: DataRoot) -> pd.DataFrame:
    """Rows of `experiments` with the status that their runs have now."""
    off = status.invalid_results(root)
    found = experiments.copy()
    for place, origin in found["origin"].items():
        if (why := off.get(f"checkpoint:{origin}")) is not None:
            found.loc[place, ["status", "status_reason"]] = "invalidated", why.text
    return found


def reported(context: RunContext) -> list[str]:
    """The finders that were evaluated on the manifest as it is and whose completeness has been measured, by name.

    Results on an earlier state of the survey stay in the lake and are left out of the report.
    """
    manifest = cards.stem("manifest", context.survey.audit_manifest)
    now = cards.read_slice(context.root, "manifest", context.survey.audit_manifest).card.fingerprint
    known, off = [], status.invalid_results(context.root)
    for entry in cards.of_survey(context.root, "scores"):
        name, on = str(entry.card.slice), entry.pin.inputs.get(f"table:{manifest}", "").split("@")[0]
        if entry.name in off:
            log.warning("%s is left out of the report: %s", name, off[entry.name].text)
        elif lacking := _lacking(context.root, name):
            words = "%s is left out of the report: its run is not complete (missing: %s); `dvc repro` completes it"
            log.warning(words, name, ", ".join(lacking))
        elif on != now:
            log.warning("%s is left out of the report: it was evaluated on a different version of %s", name, manifest)
        else:
            known.append(name)
    if not known:
        raise LakeError(
            f"no finder has been audited on the current '{manifest}'; name some in 'audited' and run `dvc repro`"
        )
    return known


def _lacking(root: DataRoot, name: str) -> list[str]:
    """Outputs of a finder's run that the report needs and that are missing."""
    made = [cards.stem(table, name) for table in _OF_A_FINDER]
    made += [cards.stem(table, f"{stage}-{name}") for table in status.JUDGED for stage in _JUDGING]
    folder, grid = root.checkpoints(name), root.grid(name) / GRID
    lost = [stem for stem in made if not (root.cards / f"{stem}.json").exists()]
    lost += [] if grid.exists() and any(grid.parent.glob(BATCHES)) else [f"a complete {grid.parent}"]
    return lost + ([str(folder)] if not ((folder / FINDER).exists() or (folder / CARD).exists()) else [])


def _generation(context: RunContext, name: str, manifest: pd.DataFrame, params: ReportParams) -> GenerationInputs:
    scores, off = context.read("scores", slices=[name]).to_pandas(), status.invalid_results(context.root)
    runs = [run for run in (f"{stage}-{name}" for stage in _JUDGING) if f"diagnostics.{run}" not in off]
    has_grid = f"completeness.{name}" not in off
    injections = context.read("injections", _INJECTION_COLUMNS, slices=[name]).to_pandas()
    answers = context.read("injection_scores", _ANSWER_COLUMNS, slices=[name]).to_pandas()
    completeness = context.read("completeness", slices=[name]).to_pandas()
    share, origin = lens_share(context, name)
    tested = scores[scores["split"] == _SPLIT]
    held = untouched(tested)
    return GenerationInputs(
        name=name,
        lens_share=share,
        lens_share_origin=origin,
        checkpoint_id=str(scores["checkpoint_id"].iloc[0]),
        facts={**_facts(context, name), **contamination(tested)},
        scores=held.objects.merge(manifest[_DESCRIBED], on="galaxy_id", how="left", validate="one_to_one"),
        refusal=held.refusal(),
        fixing=negatives_for(scores, THRESHOLD)[["galaxy_id", "probability"]],
        diagnostics=context.read("diagnostics", slices=runs + [f"completeness-{name}"] * has_grid).to_pandas(),
        gates=context.read("gates", slices=runs).to_pandas(),
        findings=context.read("findings", slices=runs).to_pandas(),
        points=context.read("figure_points", slices=runs).to_pandas(),
        test_lenses=_kept(context.read("test_lenses", slices=[name]).to_pandas(), f"test_lenses.{name}" not in off),
        completeness=_kept(equally_weighted(completeness), has_grid),
        lens_hosts=_kept(completeness[completeness["weighting_id"] != completeness["prior"]], has_grid),
        thresholds=context.read("thresholds", slices=[name]).to_pandas(),
        calibrations=context.read("calibrations", slices=[name]).to_pandas(),
        injections=_kept(injections.merge(answers, on="injection_id"), has_grid),
        trials=_kept(baselines(context, name), f"trials.{name}" not in off),
        emulator=emulator_tests(context.root, name) if has_grid else pd.DataFrame(),
        expected=expected_lenses(context, name, params) if has_grid else pd.DataFrame(),
        dual_prior=dual_prior(context.root, name) if has_grid else pd.DataFrame(),
    )


def with_networks(items: Sequence[GenerationInputs], at: str) -> list[GenerationInputs]:
    """Finders with what another of them would change, among the terms of their gap budgets."""
    finders = {item.name: network.Finder(item.trials, tuple(points(item.thresholds).values())) for item in items}
    return [_with_network(item, network.network(finders, item.name, at)) for item in items]


def _with_network(item: GenerationInputs, found: Sequence[Measure]) -> GenerationInputs:
    if not item.diagnostics["name"].str.startswith(f"{network.DIAGNOSTIC}/").any():
        return item
    rows = pd.DataFrame(Outcome(network.DIAGNOSTIC, tuple(found)).diagnostics_rows(f"diagnose-{item.name}"))
    rows = rows.astype(dict.fromkeys(("value", "low", "high"), float))
    return replace(item, diagnostics=pd.concat([item.diagnostics, rows], ignore_index=True))


def _kept(rows: pd.DataFrame, counts: bool) -> pd.DataFrame:
    """The rows, or none of them where they do not count."""
    return rows if counts else rows.head(0)


def _facts(context: RunContext, name: str) -> Mapping[str, str]:
    folder = context.root.checkpoints(name)
    if (folder / FINDER).exists():
        facts = json.loads((folder / FINDER).read_text())
        return {"kind": ensemble.kind_of(str(facts["finder"]))} | {key: str(value) for key, value in facts.items()}
    card = read_card(folder)
    return {
        "network": card.config.network.name,
        "description": card.config.description,
        "annulus (pixels)": str(card.preprocessing.annulus),
        "starts from": card.config.init or card.imported_from or "random weights",
        "epochs": f"{card.epochs_run}, best {card.best_epoch}",
        "best validation AUC": "not known" if card.best_val_auc is None else f"{card.best_val_auc:.4f}",
        "manifest": card.manifest_id,
    }


def grid_facts_of(grid: GridParams, psf: str) -> Mapping[str, str]:
    """A grid in words."""
    return {
        "Einstein radii (arcsec)": _listed(grid.theta_e_arcsec),
        "psfsize edges (arcsec)": _listed(grid.psf_fwhm_nea_edges_arcsec),
        "depth edges (mag)": _listed(grid.depth_edges_mag),
        "injections per cell": str(grid.per_cell),
        "prior": grid.prior,
        "hosts": grid.host_selection,
        "lens shape": grid.lens_shape,
        "sources": grid.source_model or ("real galaxies" if grid.real_sources else "profiles"),
        "PSF": psf,
    }


def _grid(context: RunContext, name: str) -> Mapping[str, str]:
    grid = grid_params(context.root, name)
    return grid_facts_of(grid, _psf(grid))


def _listed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _psf(grid: GridParams) -> str:
    moffat = f"Moffat of beta {_listed(grid.psf_moffat_beta)} ({', '.join(BANDS)})"
    profile = moffat if grid.psf_model == "moffat" else "Gaussian"
    return f"{profile} with the noise-equivalent area of the host's own psfsize per band"


def _of_survey(context: RunContext, table: str) -> pd.DataFrame:
    return context.read(table, slices=[each.card.slice for each in cards.of_survey(context.root, table)]).to_pandas()


def _tables(context: RunContext) -> pd.DataFrame:
    return pinned(entry for table in cards.tables(context.root) for entry in cards.of_survey(context.root, table))


def pinned(entries: Iterable[cards.Slice]) -> pd.DataFrame:
    """Slices of tables with version and fingerprint."""
    rows = [(e.card.table, e.card.slice or "", e.pin.version, e.card.rows, e.card.fingerprint) for e in entries]
    return pd.DataFrame(rows, columns=["table", "slice", "version", "rows", "fingerprint"])
