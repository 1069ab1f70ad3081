"""Whether a manifest may be trained on: its checks, as the stage `manifest` left them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from lake.errors import DataError, one_line
from lake.root import DataRoot
from modeling.config import TrainParams

log = logging.getLogger(__name__)


def require_passed(root: DataRoot, params: TrainParams) -> None:
    """Refuse a manifest with failed checks, but those that the generation accepts by name."""
    failed = [check for check in checks(root, params.manifest) if not check["passed"]]
    refused = [check for check in failed if check["name"] not in params.accepted_checks]
    if refused:
        told = "; ".join(f"{check['name']} ({check['detail']})" for check in refused)
        names = ", ".join(check["name"] for check in refused)
        raise DataError(
            f"manifest '{params.manifest}' failed {len(refused)} of its checks: {told}; mend it, or accept them "
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
        raise DataError(f"{path} cannot be read ({one_line(error)}): run `dvc repro manifest`") from error


def _path(root: DataRoot, manifest: str) -> Path:
    return root.cards / "checks" / f"manifest.{manifest}.json"
