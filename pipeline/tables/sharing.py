"""A project's tables and DVC's files, to and from the remote that a team shares."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lake.errors import DarkHaloError, invalid, not_one_of, one_line
from lake.upkeep import merging, pulling, pushing
from lake.upkeep.depot import Depot
from lake.upkeep.guard import alone, working
from lake.upkeep.pushing import Moved
from pipeline.project.project import Project
from pipeline.tables import blobs
from pipeline.tables.texttable import size_text

log = logging.getLogger(__name__)

_NONE = (
    "no remote is named: `dvc remote add team PLACE` names one (a folder that all can reach, or s3://bucket/prefix); "
    "then commit .dvc/config. Of several, name one with --remote, or the default with `dvc remote default`"
)
_OPTIONS = {
    "endpointurl": "endpoint",
    "region": "region",
    "profile": "profile",
    "access_key_id": "access_key",
    "secret_access_key": "secret_key",
    "session_token": "session_token",
}
"""Settings of a remote of DVC, and our words for them."""


def remote(project: Project, name: str | None) -> Depot:
    """The remote of DVC with a name, or its default or only one; reachable. DarkHaloError where there is none."""
    known = _configured(project.folder)
    remotes = known.get("remote", {})
    name = name or known.get("core", {}).get("remote") or (next(iter(remotes)) if len(remotes) == 1 else None)
    if not name:
        raise DarkHaloError(_NONE)
    if name not in remotes:
        raise not_one_of("remote", sorted(remotes), name) if remotes else DarkHaloError(_NONE)
    depot = _depot(name, remotes[name])
    depot.require_place()
    return depot


def push(project: Project, depot: Depot, tables: Sequence[str], at: str | None) -> list[str]:
    """Bring the pinned versions of tables, and DVC's files unless some tables are named; returns what went wrong."""
    root = project.data.of_any_survey
    with working(root):
        rows = pushing.push(root, depot, pushing.pinned(root, at, tables))
        files = Moved(0, 0, 0) if tables or at else blobs.push(_kept(project), depot)
    log.info("%s", _told("pushed", rows, files, depot))
    return [*rows.problems, *files.problems]


def pull(project: Project, depot: Depot, tables: Sequence[str], at: str | None, *, merge: bool) -> list[str]:
    """Bring what the cards pin; returns what could not come. ``merge`` settles tables that went different ways."""
    root = project.data.of_any_survey
    with alone(root):
        anew = merging.merge(root, depot, pushing.pinned(root, at, tables)) if merge else []
        rows = pulling.pull(root, depot, pushing.pinned(root, at, tables))
        files = Moved(0, 0, 0) if tables or at else blobs.pull(_kept(project), depot, project.folder)
    log.info("%s", _told("pulled", rows, files, depot))
    if anew:
        log.info("written anew on the remote's tables: %s; commit their pins in %s", ", ".join(anew), root.cards)
    return [*rows.problems, *files.problems]


def _kept(project: Project) -> blobs.Kept:
    return blobs.kept(project.folder, project.data.local / "checkpoints")


def _configured(folder: Path) -> Mapping[str, Any]:
    from dvc.config import Config, ConfigError

    if not (folder / ".dvc").is_dir():
        raise DarkHaloError(f"{folder.resolve()} has no .dvc, where DVC names its remotes: run `dvc init` there")
    try:
        found: Mapping[str, Any] = Config(str((folder / ".dvc").resolve()))
    except ConfigError as error:
        raise DarkHaloError(f"DVC's configuration cannot be read: {one_line(error)}") from error
    return found


def _depot(name: str, settings: Mapping[str, Any]) -> Depot:
    url = str(settings["url"])
    if "://" in url and not url.startswith(("s3://", "s3a://")):
        raise invalid(
            f"url of the remote '{name}'", "a folder, or s3://bucket/prefix", url.partition("://")[0] + "://..."
        )
    return Depot.at(url, {ours: str(settings[theirs]) for theirs, ours in _OPTIONS.items() if settings.get(theirs)})


def _told(done: str, rows: Moved, files: Moved, depot: Depot) -> str:
    what = f"{rows.slices} slices of tables ({rows.files} files, {size_text(rows.size)})"
    return f"{done} {what} and {files.files} files of DVC ({size_text(files.size)}): {depot.place}"
