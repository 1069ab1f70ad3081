"""Ensembles: a meta-learner fitted to the scores of finders that are in this lake, then audited like any finder.

A network averaged over orientations is kept and audited in the same way.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.fitted.stacking import Stacked, stacked
from analysis.statistics import roc
from analysis.statistics.intervals import TABLE_LEVEL
from lake.errors import DataError, invalid, not_one_of
from lake.files import atomic, refused
from lake.names import free_name
from lake.root import DataRoot
from lake.sky.hashing import key_hash
from lake.sky.split import HOST
from lake.store import delta
from modeling.scoring.ensemble import SUFFIX, averaged, inputs_of
from modeling.scoring.scorer import load_scorer
from modeling.sections import observing_conditions
from pipeline.experiment.scoring import conditions_of
from pipeline.experiment.trainedon import seen_by, trained_by
from pipeline.finders import audit as audits
from pipeline.project.project import Project

_SPLIT = "val"
_FACTS = ["galaxy_id", "ra", "dec", "healpix_128"]


@dataclass(frozen=True)
class Fitted:
    """A meta-learner, and how well it ranks the objects that it was fitted to."""

    stack: Stacked
    rows: pd.DataFrame
    """Those objects: `galaxy_id`, `ra`, `dec`, `label`."""
    ranking: pa.Table
    """One row per finder, the ensemble (out of fold) last: `finder`, `auc`, `low`, `high` (DeLong, 95 %), and
    `ensemble_minus`, `difference_low`, `difference_high`, `indistinguishable` of the paired difference."""


@dataclass(frozen=True)
class Request:
    """The ensemble that is asked for."""

    name: str
    members: Sequence[str]
    kind: str
    conditions: Sequence[str] = ()


def fit(project: Project, asked: Request) -> Fitted:
    """Fit the meta-learner to the validation split's lenses, and to half of its negatives that may host injections."""
    _check_conditions(asked.conditions)
    _check(project, asked.name, asked.members)
    rows = _rows(project, asked.members, asked.conditions)
    label = rows["label"].to_numpy()
    logits = [rows[member].to_numpy(np.float64) for member in asked.members]
    seen_through = conditions_of(rows, asked.conditions)
    if seen_through is not None and not (np.isfinite(seen_through) & (seen_through > 0)).all():
        raise invalid("conditions", "columns that are known and positive for every object", ", ".join(asked.conditions))
    stack = stacked(asked.kind, inputs_of(logits, seen_through), label, rows["healpix_128"])
    scores = {**dict(zip(asked.members, logits, strict=True)), asked.name: stack.out_of_fold}
    found = [_ranked(finder, label, values, stack.out_of_fold) for finder, values in scores.items()]
    return Fitted(stack, rows[[*_FACTS[:3], "label"]], pa.Table.from_pylist(found))


def audit_ensemble(project: Project, asked: Request, fitted: Fitted) -> None:
    """Keep the ensemble with its members' identities as a finder, and audit it."""
    _audit(project, asked.name, asked.members, _file_text(project.data, asked, fitted.stack), fitted.rows["galaxy_id"])


def audit_averaged(project: Project, network: str, name: str) -> None:
    """Keep a network, averaged over the eight orientations of a stamp, as a separate finder, and audit it."""
    free_name(name, "name")
    identity = load_scorer(project.data.checkpoints(network), averaged=True).checkpoint_id
    _audit(project, name, [network], averaged(f"../{network}", identity), ())


def _audit(project: Project, name: str, members: Sequence[str], text: str, fitted: Collection[str]) -> None:
    """Audit the finder of an ensemble's text, whose meta-learner was fitted to some galaxies."""
    if audits.is_ours(project, name):
        raise invalid("name", "one that no trained generation has", name)
    folder = project.data.checkpoints(name)
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}{SUFFIX}"
    atomic.write_text(path, text)
    with tempfile.TemporaryDirectory() as temporary:
        with refused.named(Path(temporary)):
            listed = _trained_on(project, members, fitted, Path(temporary) / "trained_on.csv")
        audits.audit(project, os.path.relpath(path, project.folder), name, trained_on=listed)
    for old in set(folder.glob(f"*{SUFFIX}")) - {path}:
        old.unlink()


def _check_conditions(columns: Sequence[str]) -> None:
    try:
        observing_conditions(tuple(columns))
    except ValueError as error:
        raise invalid("conditions", str(error).removeprefix("must be "), ", ".join(columns)) from error


def _check(project: Project, name: str, members: Sequence[str]) -> None:
    free_name(name, "name")
    if len(set(members)) < max(2, len(members)):
        raise invalid("of", "at least two different finders", ", ".join(members))
    known = [finder for finder in project.data.finders() if finder != name]
    if unknown := [member for member in members if member not in known]:
        raise not_one_of("of", known, unknown[0])


def _ranked(finder: str, label: np.ndarray, values: np.ndarray, combined: np.ndarray) -> dict[str, object]:
    own = roc.delong(label, values, TABLE_LEVEL)
    row: dict[str, object] = {"finder": finder, "auc": own.auc, "low": own.low, "high": own.high}
    if values is combined:
        return row
    test = roc.delong_paired(label, values, combined, TABLE_LEVEL)
    against = {"ensemble_minus": test.difference, "difference_low": test.low, "difference_high": test.high}
    return {**row, **against, "indistinguishable": test.indistinguishable}


def _rows(project: Project, members: Sequence[str], conditions: Sequence[str]) -> pd.DataFrame:
    """Objects of the validation split with the logits of all members, none of which may have trained on them."""
    manifest = project.survey.audit_manifest
    columns = list(dict.fromkeys((*_FACTS, *conditions)))
    rows = delta.read(project.data, "manifest", columns, slices=[manifest]).to_pandas()
    wanted = ["galaxy_id", "label", "split", "negative_use", "score", "trained_on", "checkpoint_id"]
    for number, member in enumerate(members):
        scores = delta.read(project.data, "scores", wanted, slices=[member]).to_pandas()
        if scores.empty:
            raise DataError(f"{member} has no scores: audit it first")
        if (scores["checkpoint_id"] != load_scorer(project.data.checkpoints(member)).checkpoint_id).any():
            raise DataError(f"the scores of {member} are those of another checkpoint: audit it again first")
        scores = scores[(scores["split"] == _SPLIT) & fits(scores)]
        if trained := int(scores["trained_on"].astype("boolean").fillna(False).sum()):
            raise DataError(f"{member} trained on {trained} of the {len(scores)} objects that would fit the ensemble")
        held = ["galaxy_id", "score", *(["label"] if number == 0 else [])]
        rows = rows.merge(scores[held].rename(columns={"score": member}), on="galaxy_id", validate="one_to_one")
    return rows


def fits(scores: pd.DataFrame) -> NDArray[np.bool_]:
    """Which objects (`galaxy_id`, `label`, `negative_use`) a meta-learner is fitted to: the lenses, and half of the
    negatives that may host injections, by keyed hash. The other half hosts those of its audit."""
    half = key_hash(0, pa.array(scores["galaxy_id"])) % 2 == 0
    return np.asarray((scores["label"] == 1) | ((scores["negative_use"] == HOST) & half))


def _file_text(root: DataRoot, asked: Request, stack: Stacked) -> str:
    content = {
        "members": [
            {"folder": f"../{member}", "checkpoint_id": load_scorer(root.checkpoints(member)).checkpoint_id}
            for member in asked.members
        ],
        "conditions": list(asked.conditions),
        "mean": stack.mean.tolist(),
        "scale": stack.scale.tolist(),
        "layers": [(weights.tolist(), biases.tolist()) for weights, biases in stack.layers],
    }
    return json.dumps(content, indent=1) + "\n"


def _trained_on(
    project: Project, members: Sequence[str], fitted: Collection[str], path: Path
) -> audits.TrainedOn | None:
    """What the members trained on, the test objects that they selected on, and what the meta-learner was fitted to.

    None if it is not known of all members.

    A list cannot tell selection from training, which alone keeps a galaxy from hosting injections.
    """
    columns = ["galaxy_id", "ra", "dec", "split"]
    manifest = delta.read(project.data, "manifest", columns, slices=[project.survey.audit_manifest])
    folders = [project.data.checkpoints(member) for member in members]
    seen, trained = ([by(folder, manifest) for folder in folders] for by in (seen_by, trained_by))
    if any(known.null_count for known in seen):
        return None
    tested = (manifest["split"].to_pandas() == "test").to_numpy()
    hit = np.logical_or.reduce([np.asarray(each) for each in trained])
    hit |= tested & np.logical_or.reduce([np.asarray(each) for each in seen])
    hit |= manifest["galaxy_id"].to_pandas().isin(set(fitted)).to_numpy()
    manifest.filter(pa.array(hit)).to_pandas()[["galaxy_id", "ra", "dec"]].to_csv(path, index=False)
    return audits.TrainedOn(path, 1.0)
