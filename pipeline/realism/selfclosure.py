"""Self-closure on real lenses with models: their own parameters in hosts of the grid, against their real stamps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.spatial import cKDTree

from analysis.diagnostics.closure import Chain, Params
from analysis.results.untouched import new_to
from injection.experiment.setting import Setting
from injection.scene.ranges import inside, refuse
from lake.errors import DataError, invalid
from lake.files import usercsv
from lake.scorer import Scorer
from lake.sky.sphere import chord, unit_vectors
from pipeline.realism.closure import paired_hosts, rendered
from pipeline.realism.hostweights import HostWeights

LEAST = 10
"""Lenses with a model and a stamp that self-closure needs."""
_RADIUS_ARCSEC = 3.0
_SKY = {"ra": (0.0, 360.0), "dec": (-90.0, 90.0)}
_PLACE = tuple(_SKY)


def read_models(path: Path, setting: Setting) -> pd.DataFrame:
    """A CSV file of models: `ra`, `dec` (deg), `lens_theta_e_arcsec` and any further parameters of injections.

    Columns of other names are left out. ParameterError for a value that an injection cannot have.
    """
    table = usercsv.read(path, "as CSV")
    needed = (*_PLACE, "lens_theta_e_arcsec")
    if missing := [name for name in needed if name not in table.columns]:
        raise invalid("lenses", f"a CSV file with columns {', '.join(needed)}", f"{path} without {', '.join(missing)}")
    given = [name for name in setting.prior.direct(setting.hosts.imaging) if name in table.columns]
    for name in (*_PLACE, *given):
        values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64)
        low, high = _SKY.get(name, (-np.inf, np.inf))
        good = (values >= low) & (values <= high) if name in _SKY else inside(name, values)
        if not good.all():
            got = table[name].tolist()[int(np.argmin(good))]
            raise invalid(name, f"degrees in [{low:g}, {high:g}]", got) if name in _SKY else refuse(name, got)
        table[name] = values
    _refuse_second_models(table)
    return table[[*_PLACE, *given]]


def _refuse_second_models(table: pd.DataFrame) -> None:
    """ParameterError if two models are so close that both are of one lens."""
    if len(table) > 1:
        tree = cKDTree(unit_vectors(table["ra"].to_numpy(), table["dec"].to_numpy()))
        if pairs := sorted(tree.query_pairs(chord(_RADIUS_ARCSEC))):
            first, second = (2 + row for row in pairs[0])
            allowed = f"a file with one model within {_RADIUS_ARCSEC:g} arcsec"
            raise invalid("lenses", allowed, f"lines {first} and {second}")


def modelled(objects: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """Scored lenses that the finder is not known to have trained or selected on, within 3 arcsec of a model, with its
    parameters.

    DataError with fewer than `LEAST` of them.
    """
    listed = objects[(objects["label"] == 1) & (objects["split"] != "train")]
    lenses = new_to(listed).reset_index(drop=True)
    lenses = lenses.drop(columns=[name for name in models.columns if name in lenses and name not in _PLACE])
    if len(lenses) and len(models):
        tree = cKDTree(unit_vectors(models["ra"].to_numpy(), models["dec"].to_numpy()))
        distance, place = tree.query(unit_vectors(lenses["ra"].to_numpy(), lenses["dec"].to_numpy()))
        near = distance <= chord(_RADIUS_ARCSEC)
        own = models.drop(columns=list(_PLACE)).iloc[place[near]].reset_index(drop=True)
        lenses = pd.concat([lenses[near].reset_index(drop=True), own], axis=1)
    else:
        lenses = lenses.iloc[:0]
    if len(lenses) < LEAST:
        raise DataError(
            f"{len(lenses)} of {len(models)} modelled lenses are listed lenses with a stamp outside the training "
            f"split that the finder neither trained nor selected on, and self-closure needs {LEAST}"
        )
    return lenses


def self_chain(lenses: pd.DataFrame, setting: Setting, scorer: Scorer, params: Params, weights: HostWeights) -> Chain:
    """Real lenses and their parameters in hosts of the grid; parameters without a model are drawn from its prior."""
    pairs = paired_hosts(lenses, setting.hosts, params.closure_hosts_per_lens, setting.seed)
    given = [name for name in setting.prior.direct(setting.hosts.imaging) if name in lenses.columns]
    ids = lenses["galaxy_id"].to_numpy()[pairs["lens"]]
    wanted = {"injection_id": [f"{lens}|{host}" for lens, host in zip(ids, pairs["host"], strict=True)]}
    values = {name: lenses[name].to_numpy(dtype=np.float64)[pairs["lens"]] for name in given}
    rows = setting.parameters(pa.table({**wanted, "galaxy_id": pairs["host"].tolist(), **values}))
    pairs["probability"] = rendered(setting, scorer, rows)["probability"]
    place = setting.hosts.rows_of(pairs["host"].tolist())
    frame = lenses[["galaxy_id"]].assign(painted=lenses["probability"], own=lenses["probability"])
    found = weights(setting.hosts)
    pairs = pairs.assign(**{name: value[place] for name, value in found.weights.items()})
    return Chain(frame, pairs, tuple(found.weights), errors=found.errors(setting.hosts))
