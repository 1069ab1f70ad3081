"""The MLflow database of a data root: opened, adapted to moved or copied data, or refused with a one-sentence error.

With :mod:`modeling.tracking.runstore` the only module that imports MLflow (late: that takes seconds).
"""

from __future__ import annotations

import logging
import os
import sqlite3
import warnings
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lake import gc_tuning
from lake.errors import LakeError, one_line
from lake.files import atomic, refused

log = logging.getLogger(__name__)

EXPERIMENT = "darkhaloscope"
PATIENCE_S = 10.0
"""How long to wait for a database that another process is writing to."""
_IN_USE = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_NO_DATABASE = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR)


def open_client(database: Path) -> Any:
    """Client of the database; if there is none, it is created and moved into place once complete."""
    client_class = _client_class()
    try:
        _make(database, client_class)
        _follow(database)
    except sqlite3.Error as error:
        raise _told(database, error) from error
    except (OSError, Timeout) as error:
        raise LakeError(
            f"MLflow cannot use {database}: {one_line(error)}; check what else is using its folder"
        ) from error
    client = client_class(f"sqlite:///{database}")
    from mlflow.exceptions import MlflowException

    try:
        client.search_experiments(max_results=1)
    except MlflowException as error:
        raise LakeError(
            f"MLflow cannot use {database}: {one_line(error)}; upgrade it with `mlflow db upgrade sqlite:///{database}`,"
            " or move it away and run `dvc repro --force report`"
        ) from error
    return client


@contextmanager
def told(database: Path) -> Iterator[None]:
    """Turn any error of MLflow, its database or the files beside it in the block into one sentence."""
    try:
        with refused.named(database.parent):
            yield
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("mlflow", "sqlalchemy", "sqlite3"):
            raise
        raise LakeError(
            f"MLflow failed ({one_line(error)}); run `dvc repro` again, which adds what is missing"
        ) from error


def artifacts(database: Path) -> str:
    """Address of the artifacts of the runs, in the database's folder."""
    return (database.parent / "artifacts").as_uri()


def undate(database: Path, run: str, end_ms: int | None) -> None:
    """Remove the start time of a run without a recorded date, which MLflow's page then shows as a dash.

    Its end is the duration of its log, or null. MLflow's client would set both to the present time.
    """
    with closing(_connected(database)) as connection, connection:
        connection.execute("UPDATE runs SET start_time = 0, end_time = ? WHERE run_uuid = ?", (end_ms, run))


def drop_metrics(database: Path, run: str, names: Collection[str]) -> None:
    """Delete metrics of a run, of results that no longer count; MLflow's client cannot."""
    with closing(_connected(database)) as connection, connection:
        for table in ("metrics", "latest_metrics"):
            connection.executemany(f"DELETE FROM {table} WHERE run_uuid = ? AND key = ?", [(run, n) for n in names])


def _make(database: Path, client_class: Any) -> None:
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(database.with_suffix(".lock"), timeout=6 * PATIENCE_S):
        if not database.exists():
            with atomic.replacing(database) as draft:
                client_class(f"sqlite:///{draft}").search_experiments(max_results=1)


def _follow(database: Path) -> None:
    """Point the runs to the artifacts in the database's folder; MLflow stores the paths of the original folder."""
    with closing(_connected(database)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("SELECT count(*) FROM runs").fetchone()
        found = connection.execute(
            "SELECT experiment_id, artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)
        ).fetchone()
        if not found or found[1] == artifacts(database) or not str(found[1]).startswith(("file:", "/")):
            return
        experiment, former = found
        log.info("the data folder was moved or copied: artifacts of MLflow runs are now in %s", artifacts(database))
        connection.execute(
            "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (artifacts(database), experiment)
        )
        connection.execute(
            "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
            "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
            (artifacts(database), len(former) + 1, experiment, len(former), former),
        )
        for column in ("source", "storage_location"):
            connection.execute(
                f"UPDATE model_versions SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                (artifacts(database), len(former) + 1, len(former), former),
            )


def _connected(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=PATIENCE_S, isolation_level=None)


def _told(database: Path, error: sqlite3.Error) -> LakeError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _IN_USE:
        return LakeError(
            f"{database} is in use by another process ({error}): wait for it to finish or stop it, "
            "and run the command again; nothing is lost"
        )
    if code in _NO_DATABASE:
        return LakeError(
            f"{database} is not an MLflow database ({error}); move it away, and the next run makes a new one"
        )
    return LakeError(
        f"{database} cannot be written to ({error}): check its permissions and its disk, and run the command again"
    )


def _client_class() -> Any:
    """MLflow, imported without its telemetry, progress messages and its dependencies' deprecation warnings."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.store.tracking import sqlalchemy_store  # noqa: F401  (the client would import it later, and warn)
        from mlflow.tracking import MlflowClient
    gc_tuning.spare_imported()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return MlflowClient
