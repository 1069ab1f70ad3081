"""The client of a Spark Connect server: one session for each identity, with plan numbers of its own."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path

from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession
from pyspark.sql.connect.client.retries import DefaultPolicy
from pyspark.sql.connect.plan import LogicalPlan

from etl.spark import record
from lake import processes

log = logging.getLogger(__name__)

_SPARED = "no_grpc_proxy"
"""The environment's list of hosts that gRPC reaches without a proxy."""
_POLL_SECONDS = 2.0
_SUSPENDED_POLLS = 5
"""A server found suspended this many times in a row is no longer waited for."""
_sessions: dict[str, SparkSession] = {}
"""Of this process, by connection string: two clients of one identity would stop each other."""


def session(remote: str, identity: str, options: Mapping[str, str], folder: Path | None = None) -> SparkSession:
    """The session of an identity, with its options; ``folder`` is that of the project's own server."""
    base = remote.rstrip(";") if "/;" in remote else remote.rstrip("/") + "/"
    url = remote if "session_id=" in remote else f"{base};session_id={identity}"
    known = _sessions.get(url)
    if known is not None and not known.is_stopped:
        return known
    spark = _create(url)
    if interrupted := spark.interruptAll():
        log.warning("interrupted %d operations of an earlier run that was killed", len(interrupted))
    for name, value in options.items():
        spark.conf.set(name, value)
    if folder is not None:
        spark.client.set_retry_policies([_WhileItLives(folder)])
        threading.Thread(target=_await_suspension, args=(weakref.ref(spark), folder), daemon=True).start()
    _sessions[url] = spark
    return spark


def _create(url: str) -> SparkSession:
    """A client with plan numbers of its own: the server caches plans by number, with the files they listed,
    and would otherwise serve a repeated stage from those of its last run.
    """
    LogicalPlan._nextPlanId = secrets.randbits(48)
    _spare_proxy()
    # Spark would print what the exception says, plan and Java stack included.
    PySparkLogger.getLogger("SQLQueryContextLogger").disabled = True
    return SparkSession.builder.remote(url).create()


def _spare_proxy() -> None:
    """Keep calls to this machine's own ports away from the environment's proxy, which cannot reach them."""
    spared = os.environ.get(_SPARED) or os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    hosts = [host for host in spared.split(",") if host]
    own = [host for host in ("localhost", "127.0.0.1") if host not in hosts]
    os.environ[_SPARED] = ",".join([*hosts, *own])


def _await_suspension(session_of: weakref.ref[SparkSession], folder: Path) -> None:
    """Abandon the calls of a session whose server remains suspended: they would never end."""
    seen = 0
    while (spark := session_of()) is not None and not spark.is_stopped:
        found = record.recorded(folder)
        seen = seen + 1 if found is not None and processes.stopped(found.pid) is not None else 0
        if seen >= _SUSPENDED_POLLS:
            spark.client._channel.close()
            return
        del spark
        time.sleep(_POLL_SECONDS)


class _WhileItLives(DefaultPolicy):
    """Repeat a call that failed for as long as the project's own server lives; Spark's default is ten minutes."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def can_retry(self, e: BaseException) -> bool:
        return super().can_retry(e) and record.living(self._folder) is not None
