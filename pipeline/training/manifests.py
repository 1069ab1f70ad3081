"""Manifests to train on, of cut-outs or simulated stamps: where their rows and pixels are, and their checks."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from lake.errors import DataError, one_line
from lake.files import atomic
from lake.root import DataRoot
from lake.store import cards, delta
from lake.store.stamps import StampStore, of_set
from modeling.config import TrainParams

log = logging.getLogger(__name__)


SIMULATED = "stamp_manifest"
"""Table of the manifests of simulated stamps."""


def table_of(root: DataRoot, manifest: str) -> str:
    """The table that has the rows of a manifest."""
    return SIMULATED if (root.cards / f"{cards.stem(SIMULATED, manifest)}.json").exists() else "manifest"


def pixels_of(root: DataRoot, manifest: str) -> StampStore:
    """The stamps that the rows of a manifest name."""
    if table_of(root, manifest) != SIMULATED:
        return StampStore(root.cutouts)
    sets = delta.read(root, SIMULATED, ["set_name"], [manifest], ordered=False)["set_name"].unique().to_pylist()
    if len(sets) != 1:
        raise DataError(f"manifest '{manifest}' must have the stamps of one set, got those of {sets}")
    return of_set(root, sets[0])


def require_passed(root: DataRoot, params: TrainParams) -> None:
    """Refuse a manifest with failed checks, but those that the generation accepts by name."""
    failed = [check for check in checks(root, params.manifest) if not check["passed"]]
    refused = [check for check in failed if check["name"] not in params.accepted_checks]
    if refused:
        told = "; ".join(f"{check['name']} ({check['detail']})" for check in refused)
        names = ", ".join(check["name"] for check in refused)
        raise DataError(
            f"manifest '{params.manifest}' failed {len(refused)} of its checks: {told}; fix it, or accept them "
            f"by name (`dhs train {params.generation} accepted_checks=[{names}]`)"
        )
    for check in failed:
        log.warning("manifest '%s' failed %s (%s), which is accepted", params.manifest, check["name"], check["detail"])


def checks(root: DataRoot, manifest: str) -> list[dict[str, Any]]:
    """Checks of a manifest; none, with a warning, if it was put into the lake without them."""
    path = _path(root, manifest)
    if not path.exists():
        log.warning("manifest '%s' has no checks (%s): its splits are taken as they are", manifest, path)
        return []
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [
            {"name": str(each["name"]), "detail": str(each["detail"]), "passed": each["passed"] is True}
            for each in found
        ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        stage = table_of(root, manifest)
        raise DataError(f"{path} cannot be read ({one_line(error)}): run `dvc repro {stage}`") from error


def copy_checks(root: DataRoot, base: str, manifest: str) -> None:
    """Give a manifest the checks of the one whose rows it has."""
    atomic.write_text(_path(root, manifest), _path(root, base).read_text(encoding="utf-8"))


def _path(root: DataRoot, manifest: str) -> Path:
    return root.cards / "checks" / f"{cards.stem(table_of(root, manifest), manifest)}.json"
