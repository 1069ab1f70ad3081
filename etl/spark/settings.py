"""Spark settings: what every session needs, and what a local one adds."""

from __future__ import annotations

import os
from pathlib import Path

from lake.errors import invalid

SESSION = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.sources.partitionOverwriteMode": "static",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.variable.substitute": "false",
    # Java never compiles a method of more bytes, such as one with all rules of a contract; Spark then divides it.
    "spark.sql.codegen.hugeMethodLimit": "8000",
    "spark.sql.inMemoryColumnarStorage.compressed": "false",
    "spark.databricks.delta.properties.defaults.enableDeletionVectors": "false",
}
"""Set on every session, wherever its Spark was started."""

INTERPRETED = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "1",
    "spark.databricks.delta.snapshotPartitions": "1",
}
"""Queries run as planned and in one piece, neither compiled nor planned again: the stages of a survey of a few thousand
galaxies take two thirds of the time, but publishing a million rows takes almost four times as long."""

STATIC = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
"""Set when a Spark is started."""

SINGLE_THREADED = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
"""Environment of Python workers: Spark already runs one per core."""

_MOST_CORES = 4


def submitted() -> bool:
    """Whether `spark-submit` started this process, as on EMR: its Spark is already configured."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def cores() -> int:
    """Cores a local Spark uses (``DHS_SPARK_CORES``): all, up to four, for which 2 GB of heap suffice."""
    given = os.environ.get("DHS_SPARK_CORES")
    if given is None:
        return min(os.cpu_count() or 1, _MOST_CORES)
    if not given.isdigit() or int(given) < 1:
        raise invalid("DHS_SPARK_CORES", "a whole number above 0", given)
    return int(given)


def memory() -> str:
    """Heap of a local Spark (``DHS_SPARK_MEMORY``)."""
    return os.environ.get("DHS_SPARK_MEMORY", "2g")


def idle_seconds() -> float:
    """How long a local server waits for its next client before it ends (``DHS_SPARK_IDLE_SECONDS``)."""
    return float(os.environ.get("DHS_SPARK_IDLE_SECONDS", "600"))


def s3() -> dict[str, str]:
    """What Hadoop does not take from the environment itself: an endpoint other than AWS's own, and the region."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    found = {"spark.hadoop.fs.s3a.endpoint.region": region} if region else {}
    if endpoint:
        found |= {
            "spark.hadoop.fs.s3a.endpoint": endpoint,
            "spark.hadoop.fs.s3a.path.style.access": "true",
            "spark.hadoop.fs.s3a.connection.ssl.enabled": str(endpoint.startswith("https")).lower(),
        }
    return found


def local(folder: Path) -> dict[str, str]:
    """Settings of a Spark on this machine whose scratch space is ``folder``."""
    return {
        **STATIC,
        **SESSION,
        **s3(),
        "spark.master": f"local[{cores()}]",
        "spark.app.name": "darkhaloscope",
        "spark.ui.enabled": "false",
        "spark.authenticate": "true",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.local.dir": str(folder / "scratch"),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.log.level": "WARN",
        "spark.sql.shuffle.partitions": str(cores()),
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.connect.session.manager.closedSessionsTombstonesSize": "0",
        "spark.connect.execute.manager.detachedTimeout": "60s",
    }
