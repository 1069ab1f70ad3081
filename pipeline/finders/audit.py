"""A user's own finder: tried on stamps of this lake, pinned and audited like a checkpoint, and removed again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import expit

from lake import tables
from lake.errors import DarkHaloError, DataError, invalid, not_one_of
from lake.files import atomic
from lake.names import checked_name, free_name
from lake.processes import stoppable
from lake.root import DataRoot
from lake.scorer import Scorer, check_bands
from lake.sky.hashing import key_hash
from lake.sky.survey import SURVEY
from lake.store import cards, delta
from lake.store.stamps import StampStore
from modeling.scoring.card import CARD, FINDER, read_card
from modeling.scoring.finder import CHUNK, SUSPECT_ANSWERS, ExternalScorer, Output
from modeling.scoring.scorer import load_scorer
from modeling.tracking.results import forget_runs
from pipeline import wiring
from pipeline.experiment.scoring import conditions_of
from pipeline.experiment.trainedon import LISTED, csv_text, read_listed
from pipeline.finders.cutouttables import audited_sets, forget_set
from pipeline.finders.diagnosing import forget_campaigns
from pipeline.finders.importing import forget_import, imported
from pipeline.finders.reproduce import reproduce
from pipeline.project import params
from pipeline.project.project import Project
from pipeline.reporting.finderpairs import comparable, compared_with

TRIED = 64
"""Stamps a finder is tried on; a quarter of them are those with the most unobserved pixels in the lake."""
LARGEST_MATCH_ARCSEC = 60.0
"""A larger radius would confuse neighbours on the sky."""
AGREEMENT = 0.01
"""Largest difference in probability allowed for one stamp between batches."""


@dataclass(frozen=True)
class TrainedOn:
    """What a finder was trained on, as its author lists it."""

    path: Path
    within_arcsec: float

    def __post_init__(self) -> None:
        if not 0.0 < self.within_arcsec <= LARGEST_MATCH_ARCSEC:
            raise invalid("within", f"above 0 and at most {LARGEST_MATCH_ARCSEC:g} arcsec", self.within_arcsec)
        read_listed(self.path)


def audit(
    project: Project, finder: str, name: str, output: Output | None = None, trained_on: TrainedOn | None = None
) -> None:
    """Try the finder, add it as ``name``, measure it, and make the report; one that fails is removed again."""
    root, manifest = project.data, project.survey.audit_manifest
    free_name(name, "name")
    if is_ours(project, name):
        raise invalid("name", "one that no trained generation has", name)
    scorer = load_scorer(finder, output=output)
    if not isinstance(scorer, ExternalScorer):
        raise invalid("finder", "package:object, or a file with a TorchScript or ONNX network", finder)
    if manifest not in {entry.card.slice for entry in cards.slices(root, "manifest")}:
        reproduce(project, "manifest")
    try_out(scorer, root, manifest)
    folder = root.checkpoints(name)
    former = {file: (folder / file).read_text() for file in (FINDER, LISTED) if (folder / file).exists()}
    _hold(folder, _definition(scorer, finder, trained_on))
    try:
        with _or_else(lambda: _hold(folder, former) if former else forget(project, name)):
            params.set_audited(project, add=name)
            reproduce(project, *(f"{stage}@{name}" for stage in wiring.of_one_finder(project.folder)))
    except DarkHaloError as error:
        raise DarkHaloError(
            f"{name} could not be measured and is not audited; nothing else changed ({error})"
        ) from error
    _finish(project, name)


@contextmanager
def _or_else(undo: Callable[[], object]) -> Iterator[None]:
    """A block that is undone if it fails, or if Ctrl-C, SIGTERM or SIGHUP ends it."""
    with stoppable() as close:
        try:
            yield
        except (DarkHaloError, KeyboardInterrupt, SystemExit):
            close()
            undo()
            raise


def _finish(project: Project, name: str) -> None:
    """Compare a finder with all others, in both directions, and make the report.

    These stages run alone, so that another finder that cannot be measured does not block them.
    """
    measured = comparable(project.data)
    compared = [one for one in dict.fromkeys((*project.audited, name)) if one == name or one in measured]
    reproduce(project, "--single-item", *(f"pairs@{one}" for one in compared), "report")


def is_ours(project: Project, name: str) -> bool:
    """Whether the name is that of a network that was trained here, or whose weights were imported."""
    return name in project.trained or (project.data.checkpoints(name) / CARD).exists()


def audit_trained(project: Project, name: str) -> None:
    """Measure a network that was trained or imported here, and make the report; it stays in ``audited``.

    One that cannot be measured is taken out of ``audited`` again; what was measured so far is kept for the next try.
    """
    fresh = params.set_audited(project, add=name)
    params.warn_of_contamination(project.values, [name])
    with _or_else(lambda: params.set_audited(project, remove=name) if fresh else None):
        reproduce(project, *(f"{stage}@{name}" for stage in wiring.of_one_finder(project.folder)))
    _finish(project, name)


def forget(project: Project, name: str) -> list[str]:
    """Remove a finder that no stage trains, an audit on cut-outs, an import, or results of `dhs inject`.

    Returns what was removed. The rows of its slices stay in the tables' history, where nothing reads them. Its MLflow
    runs are deleted as MLflow does it: they can be restored until `mlflow gc`. The pairs of other finders are made
    again without it.
    """
    root = project.data
    if is_ours(project, checked_name(name, "name")) and not _brought(project, name):
        raise invalid("name", "a user's own finder, not a network that was trained here", name)
    removed = [f"'{name}' in {params.FILE}"] if params.set_audited(project, remove=name) else []
    folders = (root.checkpoints(name), root.grid(name), root.local / "validation" / name, root.metrics / f"{name}.json")
    _forget_training(root, name)
    for path in filter(Path.exists, (*wiring.made_for(project.folder, name), *folders)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        removed.append(str(path))
    removed = list(
        dict.fromkeys(removed + forget_set(root, name) + forget_import(root, name) + forget_campaigns(root, name))
    )
    if not removed:
        there = sorted({*project.audited, *root.finders(), *imported(root), *audited_sets(root)} - set(project.trained))
        raise invalid("name", f"one of the finders that are not trained here ({', '.join(there) or 'none'})", name)
    if runs := forget_runs(root, name):
        removed.append(f"{runs} runs in MLflow")
    if others := [one for one in compared_with(root, name) if one in project.audited]:
        reproduce(project, "--single-item", *(f"pairs@{one}" for one in others))
    return removed


def _brought(project: Project, name: str) -> bool:
    """Whether a checkpoint's weights were imported, or trained on a set of cut-outs: no stage of DVC made it."""
    if name in project.trained or (card := read_card(project.data.checkpoints(name))).imported_from is not None:
        return name not in project.trained
    kept = {
        entry.card.slice
        for entry in cards.slices(project.data, "training_runs")
        if cards.SURVEY not in entry.pin.inputs
    }
    return card.config.generation in kept


def _forget_training(root: DataRoot, name: str) -> None:
    """Forget the log and the record of a training that is no stage of DVC."""
    for table in ("training_epochs", "training_runs"):
        cards.remove(root, table, name)
    for table in ("quarantine", "ingest_counts"):
        cards.remove(root, table, cards.stem("train", name))


def try_out(scorer: ExternalScorer, root: DataRoot, manifest: str) -> None:
    """Refuse a finder that cannot score stamps of this lake, holes and missing bands included."""
    check_bands(scorer, SURVEY)
    rows, store = _in_order_of_trial(root, manifest, scorer.conditions), StampStore(root.cutouts)
    require_one_score(scorer, store.get(rows[:TRIED]), conditions_of(rows[:TRIED], scorer.conditions))
    for start in range(TRIED, min(len(rows), SUSPECT_ANSWERS + TRIED), CHUNK):
        if not scorer.may_answer_probabilities:
            return
        some = rows[start : start + CHUNK]
        scorer.score(store.get(some), conditions_of(some, scorer.conditions))
    scorer.refuse_undeclared_probabilities()


def require_one_score(scorer: Scorer, stamps: NDArray[np.float32], conditions: NDArray[np.float64] | None) -> None:
    """Refuse a finder whose score of a stamp depends on the rest of the batch."""
    part = slice(1, len(stamps) // 2)
    whole, alone = (
        scorer.score(stamps, conditions),
        scorer.score(stamps[part], None if conditions is None else conditions[part]),
    )
    apart = float(np.abs(expit(alone) - expit(whole[part])).max(initial=0.0))
    if apart > AGREEMENT:
        raise DataError(
            f"finder {scorer.name} scores a stamp differently in another batch (by {apart:.2f} in "
            "probability): an audit needs one score per stamp; put its network into evaluation mode, fix its seeds"
        )


def _in_order_of_trial(root: DataRoot, manifest: str, conditions: Sequence[str] = ()) -> pd.DataFrame:
    """Rows of the manifest by keyed hash, after those with the most unobserved pixels."""
    held = tables.spec("manifest").names
    if unknown := [name for name in conditions if name not in held]:
        raise not_one_of("conditions", held, unknown[0])
    columns = dict.fromkeys(("galaxy_id", "cutout_version", "shard", "shard_row", "sha256", *conditions))
    rows = delta.read(root, "manifest", list(columns), slices=[manifest])
    rows = rows.filter(pa.array(np.logical_and.reduce([rows[name].is_valid() for name in columns])))
    holes = delta.read(root, "cutouts", ["galaxy_id", "cutout_version", "nan_fraction"])
    found = rows.to_pandas().merge(holes.to_pandas(), on=["galaxy_id", "cutout_version"], how="left")
    if found.empty:
        raise DataError(f"manifest {manifest} contains no cut-out to try a finder on: run `dvc repro` first")
    found = found.iloc[np.argsort(key_hash(0, pa.array(found["galaxy_id"])), kind="stable")]
    worst = found.nlargest(TRIED // 4, "nan_fraction")
    return pd.concat([worst, found.drop(worst.index)], ignore_index=True)


def _definition(scorer: ExternalScorer, finder: str, trained_on: TrainedOn | None) -> dict[str, str]:
    """The files that define a finder: ``scorer.json``, and the list of training objects if there is one."""
    facts = {
        "finder": finder,
        "stamp_pixels": scorer.contract.stamp_pixels,
        "output": scorer.contract.output,
        "identity": scorer.checkpoint_id,
        "trained_within_arcsec": trained_on.within_arcsec if trained_on else None,
    }
    known = {key: value for key, value in facts.items() if value is not None}
    listed = {LISTED: csv_text(read_listed(trained_on.path))} if trained_on else {}
    return {FINDER: json.dumps(known, indent=1, sort_keys=True) + "\n", **listed}


def _hold(folder: Path, files: dict[str, str]) -> None:
    """Leave these files in the folder, and no other file that defines a finder."""
    for name in (LISTED, FINDER):
        if name in files:
            atomic.write_text(folder / name, files[name])
        else:
            (folder / name).unlink(missing_ok=True)
