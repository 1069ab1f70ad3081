"""Lenses whose truth is known, rendered again with ever less of what they are: the rungs of the realism ladder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from analysis.comparisons import populations as held
from analysis.comparisons.populations import Population
from injection.config import IM1, IM2
from injection.experiment.conditioning import follow_hosts
from injection.experiment.hostset import HostSet
from injection.experiment.setting import Setting
from injection.priors.prior import Mixture
from lake.scorer import Scorer
from lake.sky.photometry import depth_mag_from_psfdepth
from lake.store.stamps import StampStore
from pipeline.experiment.scoring import conditions_of
from pipeline.experiment.surveyhosts import survey_hosts
from pipeline.project.context import RunContext
from pipeline.realism.describing import described, drawn, keyed_order
from pipeline.realism.truelenses import TrueLenses

Floats = NDArray[np.float64]
Weigh = Callable[[pd.Series], Floats]
"""Weights of galaxies (``galaxy_id``) that follow the hosts of lenses"""

RUNGS = (held.TRUE_LENSES, held.OWN_HOSTS, held.LENS_LIKE, held.EARLY, held.ALL_HOSTS)
NO_TRUTH = "the truth of this survey's lenses is not known"
_NEAREST = 40
"""Hosts, of those in the most similar seeing and depth, that one is chosen from for each lens."""


def ladder_groups(
    context: RunContext, scorer: Scorer, setting: Setting, known: TrueLenses, store: StampStore, weigh: Weigh | None
) -> dict[str, Population]:
    """The lenses as painted, and their parameters rendered into their own hosts and into hosts of the survey."""
    painted = store.get(known.truth)
    groups = {
        held.TRUE_LENSES: described(
            scorer, painted, conditions_of(known.truth, scorer.conditions), known.truth["galaxy_id"]
        ),
        held.OWN_HOSTS: drawn(scorer, replace(setting, hosts=known.hosts(painted)), known.in_place()),
    }
    every = survey_hosts(context.project, context.read, IM1)
    early = survey_hosts(context.project, context.read, IM2)
    plain = replace(setting, hosts=every)
    groups[held.ALL_HOSTS] = _placed(scorer, plain, known, None)
    if weigh is not None:
        groups[held.LENS_LIKE] = _placed(scorer, plain, known, weigh)
    groups[held.EARLY] = _placed(scorer, replace(setting, hosts=early), known, None, shaped=True)
    return groups


def _placed(
    scorer: Scorer, setting: Setting, known: TrueLenses, weigh: Weigh | None, shaped: bool = False
) -> Population:
    """The lenses' parameters in one host each; ``shaped``: with lenses shaped like their hosts."""
    pairs = distinct_hosts(known.truth, setting.hosts, setting.seed, weigh)
    rows = known.rows.take(pa.array(pairs["lens"])).append_column("galaxy_id", pa.array(pairs["host"]))
    if shaped:
        shapes = setting.hosts.shapes(setting.hosts.rows_of(pairs["host"].tolist()))
        prior = setting.prior.priors[0] if isinstance(setting.prior, Mixture) else setting.prior
        rows = rows.append_column("log_prior", pa.array(np.zeros(rows.num_rows)))
        rows = follow_hosts(rows, prior, shapes, setting.seed).drop_columns(["log_prior"])
    made = drawn(scorer, setting, rows)
    return replace(made, lenses=known.truth["galaxy_id"].to_numpy().astype(str)[pairs["lens"].to_numpy()])


def distinct_hosts(
    truth: pd.DataFrame, hosts: HostSet, seed: int, weigh: Weigh | None, nearest: int = _NEAREST
) -> pd.DataFrame:
    """One host (`lens`: place among the lenses, `host`: galaxy_id) for each lens, each host once.

    Of the ``nearest`` hosts in the most similar seeing and depth, the first that is free in keyed order, or in an order
    drawn by weight. A lens without a free host among them is left out.
    """
    band = hosts.imaging.reference_band
    of_hosts = np.stack([hosts.fwhm_nea_arcsec[:, hosts.imaging.reference], hosts.depth_mag], axis=1)
    own = [truth[f"psfsize_{band}"].to_numpy(), depth_mag_from_psfdepth(truth[f"psfdepth_{band}"].to_numpy())]
    scale = np.maximum(of_hosts.std(axis=0), 1e-6)
    near = min(nearest, len(of_hosts))
    _, found = cKDTree(of_hosts / scale).query(np.stack(own, axis=1) / scale, k=near)
    ids = np.asarray(hosts.ids)
    weights = None if weigh is None else weigh(pd.Series(ids))
    free, chosen = np.ones(len(ids), dtype=bool), []
    for lens, row in enumerate(np.reshape(found, (len(truth), near))):
        keys = [f"{truth['galaxy_id'].iloc[lens]}|{ids[place]}" for place in row]
        order = row[keyed_order(seed, keys, None if weights is None else weights[row])]
        left = order[free[order]]
        if len(left):
            free[left[0]] = False
            chosen.append((lens, ids[left[0]]))
    return pd.DataFrame(chosen, columns=["lens", "host"])
