"""The subject of a diagnostic: one finder and the data it was evaluated on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.comparisons.populations import Populations
from analysis.config import DiagnosticParams
from analysis.results.features import Stamps, stamp_features
from analysis.results.reweighting import Weights
from analysis.results.untouched import Untouched, unknown, untouched
from analysis.statistics.thresholds import Threshold
from lake.progress import track
from lake.sky.hashing import key_hash
from lake.sky.imaging import Imaging

_CHUNK = 512


@dataclass(frozen=True)
class Subject:
    """Frames of the lake; stamps are measured when a diagnostic first needs their features."""

    manifest: pd.DataFrame
    """Rows of the audit manifest."""
    objects: pd.DataFrame
    """The same with the finder's `score`, `probability` and `seen_in_training`."""
    cutouts: pd.DataFrame
    """`nan_fraction` and `zero_fraction` of every good cut-out."""
    fluxes: pd.DataFrame
    """`galaxy_id` and its catalogue fluxes `flux_<band>` (nMgy)."""
    thresholds: Sequence[Threshold]
    imaging: Imaging
    """Bands, reference band and pixel scale of the stamps."""
    fractions: tuple[float, float, float]
    """Intended shares of train, val and test."""
    seed: int
    params: DiagnosticParams
    stamps: Callable[[pd.DataFrame], Stamps]
    """Stamps (row, band, y, x) of rows of the manifest, nMgy."""
    populations: Callable[[Any], Populations]
    """From the parameters of the diagnostics, the groups of stamps that those of realism compare."""
    closure: Callable[[Any], Any] = lambda params: None
    """From the parameters of the closure, its chain, or why there is none; None where the survey's lenses are not
    known."""
    arcs: Callable[[Any], Any] = lambda params: "no stamps with arcs were collected"
    """From the parameters of the diagnostics, `analysis.comparisons.arcs.ArcStamps`, or why there are none."""
    transplants: Callable[[Any], Any] = lambda params: "no arc was transplanted"
    """The same for `analysis.diagnostics.transplants.Transplants`."""
    trials: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Rows of the table `trials` of this finder; empty where no experiment was made."""
    rescoring: Callable[[], Any] = lambda: "how the finder normalises stamps is not ours to change"
    """The finder with another annulus (`annulus_scoring.Rescoring`), or why it cannot be had."""
    listed: pd.DataFrame = field(default_factory=pd.DataFrame)
    """What list and catalogue say of the matched candidates: `galaxy_id`, `name`, `reference`, `theta_e_arcsec`, ..."""
    ungraded: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Rows of `ungraded_scores` of this finder: listed objects without an accepted grade."""
    injections: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The scored injections of the finder's grid, with `score` and `probability`."""
    true_lenses: Collection[str] | None = None
    """`galaxy_id` of every lens of a simulated survey, listed or not; None where they are not known."""
    trial_weights: Callable[[pd.DataFrame, str], Weights | str] = lambda rows, prior: "their prior is not known"
    """From rows of `trials` whose parameters the grid's prior draws, their weights under another prior (a name), or why
    there are none."""
    completeness: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Rows of `completeness` of this finder's grid in which all injections count the same."""
    host_weights: Callable[[pd.Series], NDArray[np.float64] | str] = lambda hosts: "hosts cannot be weighted"
    """From the hosts of injections (`galaxy_id`), weights that make them follow the lenses' hosts, or why there are
    none."""
    lenses: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Parameters of lenses whose recall is measured, as far as known: columns of `injections` (`lens_theta_e_arcsec`,
    `src_beta_frac`, `arc_snr`, ...)."""

    @cached_property
    def learned(self) -> pd.DataFrame:
        """The objects of the training split, and those of the test split that are measured."""
        held = (self.objects["split"] == "train") | self.objects.index.isin(self.untouched.objects.index)
        return self.objects[held].reset_index(drop=True)

    @cached_property
    def untouched(self) -> Untouched:
        """The objects of the test split."""
        return untouched(self.objects[self.objects["split"] == "test"])

    @cached_property
    def unknown(self) -> str | None:
        """Why no gate on objects that the finder must not have seen is measured; None if they are."""
        return unknown(self.objects)

    @cached_property
    def described(self) -> Populations:
        """The groups of stamps that the diagnostics of realism compare, as the finder sees them."""
        return self.populations(self.params)

    @cached_property
    def features(self) -> pd.DataFrame:
        """Features of the stamps of `learned`, row by row."""
        parts = [
            stamp_features(self.stamps(self.learned.iloc[start : start + _CHUNK]), self.imaging, self.params)
            for start in track(range(0, len(self.learned), _CHUNK), "measure stamps")
        ]
        return pd.concat(parts, ignore_index=True)

    def sampled(self, objects: pd.DataFrame, per_label: int) -> pd.DataFrame:
        """At most so many objects of each label, by keyed hash."""
        order = pd.Series(key_hash(self.seed, pa.array(objects["galaxy_id"])), index=objects.index)
        rank = order.groupby(objects["label"]).rank(method="first")
        return objects[(rank <= per_label).to_numpy()]

    def of_sample(self, *frames: pd.DataFrame) -> list[pd.DataFrame]:
        """The sampled rows of frames parallel to `learned`: `sample_per_class` of each label, by keyed hash."""
        order = pd.Series(key_hash(self.seed, pa.array(self.learned["galaxy_id"])))
        rank = order.groupby(self.learned["label"]).rank(method="first")
        return [frame[(rank <= self.params.sample_per_class).to_numpy()].reset_index(drop=True) for frame in frames]
