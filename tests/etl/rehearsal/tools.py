"""What a cluster has and this machine may lack, fetched once into the machine's cache: AWS's command, Spark, jars."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from filelock import FileLock
from uv import find_uv_bin

from lake.root import cache

_RESOLVE = """
import sys
from pyspark.sql import SparkSession
settings = dict(each.split("=", 1) for each in sys.argv[1:])
SparkSession.builder.master("local[1]").config(map=settings).getOrCreate().stop()
"""


@dataclass(frozen=True)
class Release:
    """The versions of an EMR release."""

    label: str
    spark: str
    delta: str
    hadoop: str
    scala: str

    @cached_property
    def home(self) -> Path:
        """SPARK_HOME."""
        return package(f"pyspark=={self.spark}") / "pyspark"

    @property
    def delta_jars(self) -> list[Path]:
        return self._jars(f"io.delta:delta-spark_{self.scala}:{self.delta}")

    @property
    def s3_jars(self) -> list[Path]:
        """Hadoop's S3 client and Amazon's library: half a gigabyte."""
        return self._jars(f"org.apache.hadoop:hadoop-aws:{self.hadoop}")

    def _jars(self, package: str) -> list[Path]:
        """The jars of a package and of what it needs, from Spark's own resolver."""
        folder = cache() / "rehearsal" / package.replace(":", "_")
        with FileLock(_lock(folder)):
            if not (folder / "done").exists():
                settings = (f"spark.jars.ivy={folder}", f"spark.jars.packages={package}", "spark.ui.enabled=false")
                here = ("spark.driver.host=127.0.0.1", "spark.driver.bindAddress=127.0.0.1")
                command = [sys.executable, "-c", _RESOLVE, *settings, *here]
                environment = {"PYTHONPATH": str(self.home.parent), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
                _fetch(command, package, environment)
                (folder / "done").touch()
        return sorted((folder / "jars").glob("*.jar"))


SPARK_4 = Release("emr-spark-8.0.0", "4.0.2", "4.0.0", "3.4.1", "2.13")
SPARK_3 = Release("emr-7.11.0", "3.5.6", "3.3.2", "3.3.4", "2.12")


def package(name: str) -> Path:
    """A folder that holds a package of the index and all it needs."""
    folder = cache() / "rehearsal" / name
    with FileLock(_lock(folder)):
        if not folder.exists():
            draft = folder.with_name(f".{name}")
            _fetch([find_uv_bin(), "pip", "install", "--quiet", f"--target={draft}", name], name)
            draft.rename(folder)
    return folder


def _lock(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder.with_name(f"{folder.name}.lock")


def _fetch(command: list[str], what: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        pytest.skip(f"{what} cannot be fetched: {done.stderr.strip()[-300:]}")
