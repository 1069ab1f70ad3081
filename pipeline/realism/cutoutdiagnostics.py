"""The diagnostics of a finder on a set of cut-outs: those that need no catalogue and no spatial splits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.comparisons.populations import Populations
from analysis.diagnostics import anchors, discovery
from analysis.diagnostics.subject import Subject
from analysis.records import Outcome, merge
from injection.experiment.setting import Setting
from lake.errors import DataError
from lake.scorer import Scorer
from lake.sky.hashing import key_hash
from lake.sky.split import TEST, THRESHOLD
from lake.sky.survey import STAMP_PIXELS
from pipeline.experiment.cutouthosts import Labelled
from pipeline.experiment.grids import sample
from pipeline.project.context import RunContext
from pipeline.realism.realism import of_set

_CLASSES = 4
_LEAST = 5
"""Objects of each label in each half of a set, for the diagnostics that fit a classifier to one half."""
_FITTED = ("annulus", "shortcuts", "trivial")
_NAMING = {"kind", "reference", "grading"}
"""Columns of a set's table by which spectroscopic lenses and known contaminants are recognised."""
_NOISE = ["galaxy_id", "sky_sigma_mad_nmgy", "sky_sigma_psfdepth_nmgy"]
_IN_PIXELS = ("core_radius_pixels", "aperture_radius_pixels", "comparison_annuli_pixels")


def diagnosed(
    context: RunContext,
    scorer: Scorer,
    found: Labelled,
    scores: pd.DataFrame,
    injected: tuple[Setting, pa.Table] | None,
) -> Outcome:
    """The diagnostics that a set allows: those that fit a classifier need lenses in both of its halves.

    ``injected``: the setting of its injections and their rows; None without hosts.
    """
    params = context.project.section(discovery.DiagnoseParams, "diagnose")
    ratio = found.stamps.shape[-1] / STAMP_PIXELS
    scaled = {name: (np.array(getattr(params, name)) * ratio).tolist() for name in _IN_PIXELS}
    params = type(params).load({**params.model_dump(mode="json"), **scaled}, "diagnose")
    objects = _halved(found, scores)
    learned = objects[objects["split"] != "val"].groupby(["split", "label"]).size()
    lenses = objects[objects["label"] == 1]
    wanted = ["masked_pixels", "host_noise", *(["realism"] if injected and len(lenses) else [])]
    if len(learned) == _CLASSES and learned.min() >= _LEAST:
        wanted += _FITTED
    modules = [module for module in discovery.found() if module.__name__.rpartition(".")[2] in wanted]

    def populations(own: Any) -> Populations:
        if injected is None:
            raise DataError(f"{found.described.name} has no injections to compare with")
        setting, injections = injected
        chosen = _probed(injections, own, setting, context.seed)
        described = lenses.assign(**{name: found.conditions([name])[lenses.index, 0] for name in scorer.conditions})
        return of_set(scorer, setting, chosen, described, found.get)

    subject = Subject(
        manifest=objects,
        objects=objects,
        cutouts=_unobserved(found),
        fluxes=pd.DataFrame(),
        thresholds=[],
        imaging=found.imaging,
        fractions=(0.0, 0.0, 1.0),
        seed=context.seed,
        params=params,
        stamps=found.get,
        populations=populations,
        injections=pd.DataFrame() if injected is None else injected[1].select(_NOISE).to_pandas(),
    )
    outcomes = [discovery.run(modules, subject)]
    if _NAMING & set(found.objects):
        outcomes.append(anchored(subject, found.objects))
    return merge("diagnose", outcomes)


def anchored(subject: Subject, named: pd.DataFrame) -> Outcome:
    """The anchors among all objects of a set, of both halves, by the columns of its table that name them."""
    whole = replace(subject, objects=subject.objects.assign(split="test"), listed=named)
    return discovery.run([anchors], whole)


def _halved(found: Labelled, scores: pd.DataFrame) -> pd.DataFrame:
    """Objects in two halves for classifiers: fitted on one half of the lenses and the negatives that fix thresholds,
    tested on the others; hosts are in neither."""
    kinds = [f"{kind}_{found.imaging.reference_band}" for kind in ("psfsize", "psfdepth")]
    known_ = {name: found.conditions([name])[:, 0] for name in kinds}
    objects = found.objects.drop(columns=[name for name in kinds if name in found.objects]).assign(**known_)
    objects = objects.assign(**{name: scores[name] for name in ("score", "probability", "seen_in_training")})
    even = key_hash(0, pa.array(objects["galaxy_id"])) % 2 == 0
    fitted = np.where(objects["label"] == 1, even, objects["negative_use"] == THRESHOLD)
    tested = np.where(objects["label"] == 1, ~even, objects["negative_use"] == TEST)
    return objects.assign(split=np.select([fitted, tested], ["train", "test"], "val"))


def _unobserved(found: Labelled) -> pd.DataFrame:
    """Share of each stamp that was not observed; zeros count as such."""
    places = found.objects["place"].to_numpy()
    shares = [1.0 - float(np.isfinite(found.stamps[place]).mean()) for place in places]
    return pd.DataFrame({"nan_fraction": shares, "zero_fraction": np.zeros(len(shares))})


def _probed(injections: pa.Table, params: Any, setting: Setting, seed: int) -> pa.Table:
    """Injections for the realism probe: bright ones, if there are any."""
    magnitude = injections[setting.hosts.imaging.source_columns[0]]
    bright = injections.filter(
        pc.and_(pc.less_equal(magnitude, params.probe_source_mag_max), pc.equal(injections["status"], "scored"))
    )
    return sample(bright if bright.num_rows else injections, params.probe_injections, seed)
