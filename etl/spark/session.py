"""The only place where a Spark session is made."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
from pyspark.errors import PySparkException
from pyspark.logger import PySparkLogger
from pyspark.sql import SparkSession
from pyspark.sql.connect.client.retries import DefaultPolicy
from pyspark.sql.connect.plan import LogicalPlan

from etl.spark import record, server, settings
from etl.spark.java import QUICK_START, THOROUGH, delta_jars, java, spark_home
from lake import processes
from lake.errors import DataError, LakeError, invalid
from lake.root import DataRoot, private_folder

log = logging.getLogger(__name__)

_NAMESPACE = uuid.UUID("5f0c3c52-0d6c-5a5e-9a39-2a3c1cf0a5b1")
_SPARED = "no_grpc_proxy"
"""The environment's list of hosts that gRPC reaches without a proxy."""
_POLL_SECONDS = 2.0
_SUSPENDED_POLLS = 5
"""A server found suspended this many times in a row is no longer waited for."""
_sessions: dict[str, SparkSession] = {}
"""Of this process, by connection string: two clients of one identity would stop each other."""


def session(root: DataRoot, stage: str, slice_name: str | None = None, compile_queries: bool = True) -> SparkSession:
    """The Spark session of one stage (of one slice). It stops what an earlier client, which was killed, left running.

    It is that of ``SPARK_REMOTE`` if set, the classic one on EMR or with ``DHS_SPARK=classic``, and otherwise one of
    the project's own server.
    """
    options = settings.SESSION if compile_queries else settings.SESSION | settings.INTERPRETED
    if _classic():
        if not settings.on_emr():
            _require_s3a(root)
        return _classic_session(root, options, THOROUGH if compile_queries else QUICK_START)
    identity = session_id(root, stage, slice_name)
    if given := os.environ.get("SPARK_REMOTE"):
        return _connect(given, identity, options)
    _require_s3a(root)
    return _connect(server.address(_folder(root), compile_queries), identity, options, _folder(root))


def _require_s3a(root: DataRoot) -> None:
    """Refuse tables on S3 if this Spark lacks the jars that read them; EMR's has them."""
    jars = spark_home() / "jars"
    if root.lake_uri is not None and not any(jars.glob("hadoop-aws-*.jar")):
        raise DataError(
            f"Spark on this machine cannot reach {root.lake_uri}: put hadoop-aws and the AWS bundle it names "
            f"into {jars}, or run the stage on EMR (`dhs emr submit`)"
        )


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


def explain(root: DataRoot, error: Exception) -> None:
    """Raise an error that says what to do next if the project's own server has ended or is suspended."""
    if _classic() or "SPARK_REMOTE" in os.environ:
        return
    folder, found = _folder(root), record.recorded(_folder(root))
    if found is not None and processes.is_alive(found.pid, found.started):
        server.require_awake(folder, found)
    if "No space left on device" in str(error):
        raise LakeError(f"the disk of {folder} or of the tables is full: make room and run the stage again") from error
    if isinstance(error, (PySparkException, grpc.RpcError)) and record.living(folder) is None:
        told = f"its log: {folder / record.LOG}"
        raise LakeError(f"the Spark server died while the stage was running ({told}); run the stage again") from error


def _folder(root: DataRoot) -> Path:
    """Folder of the record and scratch space of a data root's server: in the data root or, if that is read-only, a
    private one in the system's temporary folder.
    """
    nearest = next(folder for folder in (root.spark, *root.spark.resolve().parents) if folder.exists())
    if os.access(nearest, os.W_OK):
        return root.spark
    return private_folder() / "spark" / session_id(root, "server", None)


def session_id(root: DataRoot, stage: str, slice_name: str | None) -> str:
    """The same for every run of a stage on a data root: a second run finds what the first left."""
    facts = (str(root.local.resolve()), root.lake_uri or "", stage, slice_name or "")
    return str(uuid.uuid5(_NAMESPACE, "\n".join(facts)))


def _classic() -> bool:
    wanted = os.environ.get("DHS_SPARK", "")
    if wanted not in ("", "classic", "connect"):
        raise invalid("DHS_SPARK", "'classic' or 'connect'", wanted)
    return wanted == "classic" or (wanted == "" and settings.on_emr())


def _connect(remote: str, identity: str, options: Mapping[str, str], folder: Path | None = None) -> SparkSession:
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


def _classic_session(root: DataRoot, session_options: Mapping[str, str], compilers: Sequence[str]) -> SparkSession:
    builder = SparkSession.builder.appName("darkhaloscope")
    if settings.on_emr():
        options = {**settings.STATIC, **session_options}
        options |= {f"spark.executorEnv.{name}": value for name, value in settings.SINGLE_THREADED.items()}
    else:
        java()
        folder = _folder(root).resolve()
        (folder / "scratch").mkdir(parents=True, exist_ok=True)
        options = {
            **settings.local(folder),
            "spark.driver.memory": settings.memory(),
            "spark.driver.extraJavaOptions": " ".join(compilers),
            "spark.driver.extraClassPath": os.pathsep.join(str(jar) for jar in delta_jars()),
            **session_options,
        }
        os.environ.update(settings.SINGLE_THREADED)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    for name, value in options.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def describe_server(root: DataRoot) -> str:
    """One sentence on the project's own server of this data root."""
    found = record.living(_folder(root))
    if found is None:
        return f"no Spark server runs for {root.local}; the first Spark stage starts one"
    users = record.clients(_folder(root))
    return f"a Spark server runs for {root.local}: process {found.pid}, port {found.port}, {users} clients"


def stop_server(root: DataRoot) -> bool:
    """End the project's own server of this data root; returns whether there was one."""
    return server.stop(_folder(root))
