"""Inputs of the report: frames, dictionaries and stamps that the stage reads from the lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from analysis.config import ReportParams
from analysis.figures.stamps import Line
from analysis.reporting.views import Source
from lake.sky.imaging import Imaging


@dataclass(frozen=True)
class Gallery:
    """A contact sheet; its caption says how the objects were chosen."""

    title: str
    caption: str
    rows: Sequence[Line]
    """Stamps in nMgy, in the bands of the report's imaging; a row without stamps is not shown."""
    objects: pd.DataFrame = field(default_factory=pd.DataFrame)
    """What is shown, in its order: `row` (its heading), the identifiers, and what is known of each."""
    source: Source | None = None
    """Where the objects were chosen from."""


@dataclass(frozen=True)
class GenerationInputs:
    """Everything that was measured on one finder."""

    name: str
    checkpoint_id: str
    facts: Mapping[str, str]
    """Network, annulus, epochs, initial weights, ...: shown as they are."""
    lens_share: float | None
    """Fraction of lenses in a training epoch, for which the probabilities are valid; None if not known."""
    lens_share_origin: str
    """Where that fraction comes from, in words."""
    scores: pd.DataFrame
    """Rows of `scores` of the reported split that are measured: `galaxy_id`, `label`, `score`, `probability`; with
    stratum, tier and pool of the manifest where the objects have them."""
    fixing: pd.DataFrame
    """`galaxy_id` and `probability` of the negatives that fixed its derived thresholds."""
    diagnostics: pd.DataFrame
    """Rows of `diagnostics` of its evaluate and diagnose runs."""
    gates: pd.DataFrame
    """Rows of `gates` of the same runs."""
    completeness: pd.DataFrame
    """Rows of `completeness`, those in which all injections count the same; empty where no grid has run."""
    thresholds: pd.DataFrame
    """Rows of `thresholds`."""
    injections: pd.DataFrame
    """Rows of `injections` joined with the finder's `injection_scores`: `grid_id`, `injection_id`, `galaxy_id` (host),
    `status`, `probability`, `host_probability`, `detectable` and the parameters; empty where no grid ran."""
    calibrations: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Rows of `calibrations`."""
    refusal: str | None = None
    """Why no figure on both lenses and negatives of the reported split is shown."""
    findings: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["diagnostic", "finding"]))
    """Rows of `findings` of the same runs."""
    points: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["figure", "series"]))
    """Rows of `figure_points` of the same runs."""
    test_lenses: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Rows of `test_lenses`: the listed lenses of the reported split that are measured."""
    trials: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Rows of `trials` that finders are compared on: bright arcs and draws of the grid, without changes."""
    emulator: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The emulator against the table: `threshold_id` and `analysis.results.emulation.Comparison.figures`."""
    lens_hosts: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Rows of `completeness` whose hosts are weighted to follow the lenses' hosts; empty where they cannot be."""
    expected: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Lenses of a declared population that the finder would find, per square degree and threshold: rows of
    `pipeline.experiment.populations`, or one with the reason, `refused`."""
    dual_prior: pd.DataFrame = field(default_factory=pd.DataFrame)
    """`analysis.results.reweighting.reweighted` under a broad prior and one anchored on known lenses, of one grid; of a
    prior that the grid does not cover one row with the reason, `refused`."""


@dataclass(frozen=True)
class ReportInputs:
    """Everything on the page."""

    params: ReportParams
    survey_name: str
    simulated: bool
    imaging: Imaging
    """Of the stamps shown, and of the hosts of the grids."""
    generations: Sequence[GenerationInputs]
    headline: str
    """The finder shown in the candidates, the galleries and the trivial baseline."""
    manifest: pd.DataFrame
    """Rows of the manifest the finders were trained on."""
    ingest_counts: pd.DataFrame
    quarantine: pd.DataFrame
    training_epochs: pd.DataFrame
    """Epochs of the generations above."""
    experiments: pd.DataFrame
    """The experiment registry, historical rows included."""
    candidates: pd.DataFrame
    """`discoveries.ranked_candidates` of the headline finder."""
    grids: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Facts of each grid by `grid_id`: axes, hosts, lens shape, injections per cell, ..."""
    baseline: pd.DataFrame = field(default_factory=pd.DataFrame)
    """`label`, `score` of the trivial-feature classifier on the reported split."""
    galleries: Sequence[Gallery] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Commit, package version, parameters' hash, platform, ...: shown as they are."""
    left_out: Sequence[str] = ()
    """Runs whose results do not count, each with the reason, in a sentence."""
    expectations: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Expectations with their results: `run`, `expectation`, `registered`, `result`, `outcome`, `test`, `why`."""
    past_epochs: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Epochs of the reference system's runs."""
    pool: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Galaxies of the survey, `n` per stratum."""
    area_deg2: float = float("nan")
    """What they lie in."""
    stages: Sequence[tuple[str, str]] = ()
    """Pairs of stages, the second of which read what the first made."""
    tables: pd.DataFrame = field(default_factory=pd.DataFrame)
    """`table`, `slice`, `version`, `rows`, `fingerprint` of every pinned table."""
