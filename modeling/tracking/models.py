"""Checkpoints as versions of one registered MLflow model, which any MLflow client can load and score with."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lake.root import DataRoot
from modeling.tracking.runstore import RunStore

MODEL = "lens-finder"
CHAMPION, PAST = "champion", "historical"
"""Aliases: the version with the highest test AUC here, and the best network of the reference system."""
PAST_BEST = "gen4"
"""The reference system's production network: highest validation AUC on real lenses (its registry, E04)."""
_AUTOMATIC = "champion_by"
_REPORT = "report"
_ABOUT = (
    "Lens finders: every checkpoint of this project is a version. The alias 'champion' is moved by each report to the "
    "version with the highest test AUC, unless you set it yourself; 'historical' is the reference system's best "
    "network, whose weights are not here."
)
_FOLDER = "model"


def trained(root: DataRoot, generation: str) -> bool:
    """Whether a finder is a checkpoint of this project."""
    from modeling.scoring.card import CARD

    return (root.checkpoints(generation) / CARD).exists()


def register(root: DataRoot, generation: str) -> None:
    """Make the checkpoint of a generation a version of the model; one that is known already is left as it is."""
    from modeling.scoring.card import read_card

    folder = root.checkpoints(generation)
    if not trained(root, generation):
        return
    card, store = read_card(folder), RunStore(root)
    run = next(iter(store.find({"stage": "train", "checkpoint_id": card.checkpoint_id})), None)
    if run is None or _versions(store, {"checkpoint_id": card.checkpoint_id}):
        return
    _ensure(store)
    for old in _versions(store, {"generation": generation}):
        store.client.set_model_version_tag(MODEL, old.version, "superseded_by", card.checkpoint_id)
    _upload(store, run.info.run_id, folder)
    tags = {"generation": generation, "checkpoint_id": card.checkpoint_id, "source": "trained"}
    place = f"{store.client.get_run(run.info.run_id).info.artifact_uri}/{_FOLDER}"
    about = f"{card.config.network.name}, epoch {card.best_epoch} of {generation}"
    store.client.create_model_version(MODEL, place, run.info.run_id, tags=tags, description=about)


def crown(root: DataRoot, areas: Mapping[str, float]) -> None:
    """Give the alias ``champion`` to the generation with the highest of ``areas`` (test AUC by generation).

    An alias that somebody has set to another version than the last report is theirs, and stays.
    """
    store = RunStore(root)
    newest = {version.tags["generation"]: version for version in _versions(store, {"source": "trained"})}
    able = {name: area for name, area in areas.items() if name in newest}
    if not able or _own(store):
        return
    best = newest[max(able, key=lambda name: (able[name], name))]
    for version in newest.values():
        if version.version != best.version and version.tags.get(_AUTOMATIC):
            store.client.delete_model_version_tag(MODEL, version.version, _AUTOMATIC)
    store.client.set_model_version_tag(MODEL, best.version, _AUTOMATIC, _REPORT)
    store.client.set_registered_model_alias(MODEL, CHAMPION, best.version)


def register_past(store: RunStore, run: str) -> None:
    """The reference system's best network as a version without weights, under the alias ``historical``."""
    known = _versions(store, {"source": "historical"})
    if any(version.run_id == run for version in known):
        return
    _ensure(store)
    for version in known:
        store.client.delete_model_version(MODEL, version.version)
    place = store.client.get_run(run).info.artifact_uri
    tags = {"generation": PAST_BEST, "source": "historical"}
    about = f"{PAST_BEST} of the reference system: its record only, the weights are not in this project"
    made = store.client.create_model_version(MODEL, place, run, tags=tags, description=about)
    store.client.set_registered_model_alias(MODEL, PAST, made.version)


def forget(store: RunStore, generation: str) -> None:
    """Delete the versions of a generation that was trained here."""
    for version in _versions(store, {"generation": generation, "source": "trained"}):
        store.client.delete_model_version(MODEL, version.version)


def _own(store: RunStore) -> bool:
    """Whether somebody has set the alias themselves."""
    from mlflow.exceptions import MlflowException

    try:
        version = store.client.get_model_version_by_alias(MODEL, CHAMPION)
    except MlflowException:  # there is none
        return False
    return version.tags.get(_AUTOMATIC) != _REPORT


def _versions(store: RunStore, tags: Mapping[str, str]) -> list[Any]:
    """Versions with all these tags, the newest last."""
    found = store.client.search_model_versions(f"name = '{MODEL}'")
    chosen = [version for version in found if tags.items() <= version.tags.items()]
    return sorted(chosen, key=lambda version: int(version.version))


def _ensure(store: RunStore) -> None:
    if not store.client.search_registered_models(f"name = '{MODEL}'"):
        store.client.create_registered_model(MODEL, description=_ABOUT)


def _upload(store: RunStore, run: str, folder: Path) -> None:
    """The files that scoring needs, as an MLflow model of flavour ``python_function``, among the run's artifacts."""
    from mlflow.models import Model

    from modeling.scoring.checkpoint import USED

    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        (place / "checkpoint").mkdir()
        for name in USED:
            shutil.copyfile(folder / name, place / "checkpoint" / name)
        model = Model(run_id=run, artifact_path=_FOLDER)
        made_for = {"loader_module": "modeling.scoring.served", "python_version": platform.python_version()}
        model.add_flavor("python_function", data="checkpoint", **made_for)
        model.save(place / "MLmodel")
        store.artifacts(run).log_artifacts(temporary, _FOLDER)
