"""The only place where a Spark session is made."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from pyspark.sql import SparkSession

from etl.spark import record, settings
from etl.spark.java import QUICK_START, S3_JARS, THOROUGH, delta_jars, java, s3_jars, spark_home
from lake import processes
from lake.errors import DataError, LakeError, invalid
from lake.root import DataRoot, private_folder

_NAMESPACE = uuid.UUID("5f0c3c52-0d6c-5a5e-9a39-2a3c1cf0a5b1")


def session(root: DataRoot, stage: str, slice_name: str | None = None, compile_queries: bool = True) -> SparkSession:
    """The Spark session of one stage (of one slice). It stops what an earlier client, which was killed, left running.

    It is that of ``SPARK_REMOTE`` if set, the classic one on EMR or with ``DHS_SPARK=classic``, and otherwise one of
    the project's own server.
    """
    options = settings.SESSION if compile_queries else settings.SESSION | settings.INTERPRETED
    if _classic():
        if settings.submitted():
            return _submitted_session(options)
        _require_s3a(root)
        return _local_session(root, options, THOROUGH if compile_queries else QUICK_START)
    from etl.spark import connect, server  # what they import comes with no cluster

    identity = session_id(root, stage, slice_name)
    if given := os.environ.get("SPARK_REMOTE"):
        return connect.session(given, identity, options)
    _require_s3a(root)
    return connect.session(server.address(_folder(root), compile_queries), identity, options, _folder(root))


def _require_s3a(root: DataRoot) -> None:
    """Refuse tables on S3 if this Spark lacks the jars that read them; a cluster's has them."""
    if root.lake_uri is not None and not s3_jars() and not any((spark_home() / "jars").glob("hadoop-aws-*.jar")):
        raise DataError(
            f"Spark on this machine cannot reach {root.lake_uri}: put {' and '.join(S3_JARS)} (Maven's "
            "org.apache.hadoop:hadoop-aws and software.amazon.awssdk:bundle) into a folder that DHS_S3_JARS names, or "
            "run the stage on EMR (`dhs emr submit`)"
        )


def explain(root: DataRoot, error: Exception) -> None:
    """Raise an error that says what to do next if the project's own server has ended or is suspended."""
    if _classic() or "SPARK_REMOTE" in os.environ:
        return
    from etl.spark import server

    folder, found = _folder(root), record.recorded(_folder(root))
    if found is not None and processes.is_alive(found.pid, found.started):
        server.require_awake(folder, found)
    if "No space left on device" in str(error):
        places = f"{folder}, {root.local / 'work'} or the tables"
        raise LakeError(f"the disk of {places} is full: make room and run the stage again") from error
    if type(error).__module__.startswith(("pyspark.", "grpc.")) and record.living(folder) is None:
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
    return wanted == "classic" or (wanted == "" and settings.submitted())


def _submitted_session(session_options: Mapping[str, str]) -> SparkSession:
    """The session of the Spark that `spark-submit` started: master, memory, Delta and S3 are configured there."""
    threads = {f"spark.executorEnv.{name}": value for name, value in settings.SINGLE_THREADED.items()}
    return _made({**settings.STATIC, **session_options, **threads})


def _local_session(root: DataRoot, session_options: Mapping[str, str], compilers: Sequence[str]) -> SparkSession:
    java()
    folder = _folder(root).resolve()
    (folder / "scratch").mkdir(parents=True, exist_ok=True)
    os.environ.update(settings.SINGLE_THREADED)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    own = {
        "spark.driver.memory": settings.memory(),
        "spark.driver.extraJavaOptions": " ".join(compilers),
        "spark.driver.extraClassPath": os.pathsep.join(str(jar) for jar in (*delta_jars(), *s3_jars())),
    }
    return _made({**settings.local(folder), **own, **session_options})


def _made(options: Mapping[str, str]) -> SparkSession:
    builder = SparkSession.builder.appName("darkhaloscope")
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
    from etl.spark import server

    return server.stop(_folder(root))
