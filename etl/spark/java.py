"""The Java virtual machine that a local Spark runs on, and Delta's jars: fetched once by Spark's resolver, checked."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from lake.errors import DataError
from lake.files import atomic
from lake.root import cache

JARS: dict[str, str] = {
    "delta-spark_2.13-4.0.1.jar": "a1e76860b19fe1e6b205a4ea7a9099a2f9575d39bb71d49b3e679b299d0efb91",
    "delta-storage-4.0.1.jar": "ecc42c5aaa51c423312d9e4e48aa4a12b34740bf2c37de0e8f279277ec3d12e4",
}
"""Name and sha256 of what pyspark itself does not ship (antlr4 and Spark Connect come with it)."""

S3_JARS = ("hadoop-aws-3.4.1.jar", "bundle-2.24.6.jar")
"""What Spark 4.0 needs to read S3: of Hadoop's version, and the AWS SDK that it names (software.amazon.awssdk)."""

_RESOLVE = """
import sys
from delta import configure_spark_with_delta_pip
from pyspark.sql import SparkSession
builder = SparkSession.builder.master("local[1]")
for setting in sys.argv[1:]:
    builder = builder.config(*setting.split("=", 1))
configure_spark_with_delta_pip(builder).getOrCreate().stop()
"""
_PATIENCE_SECONDS = 300

_OPENED = (
    "java.base/java.lang", "java.base/java.lang.invoke", "java.base/java.lang.reflect", "java.base/java.io",
    "java.base/java.net", "java.base/java.nio", "java.base/java.util", "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic", "java.base/jdk.internal.ref", "java.base/sun.nio.ch",
    "java.base/sun.nio.cs", "java.base/sun.security.action", "java.base/sun.util.calendar",
    "java.security.jgss/sun.security.krb5",
)  # fmt: skip
MODULE_OPTIONS = (
    "-XX:+IgnoreUnrecognizedVMOptions",
    "--add-modules=jdk.incubator.vector",
    *(f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED),
    "-Djdk.reflect.useDirectMethodHandle=false",
    "-Dio.netty.tryReflectionSetAccessible=true",
)
"""What Spark 4.0's own launcher passes (``JavaModuleOptions``)."""

QUICK_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""Only the quick compiler and the simple collector: jobs of a few thousand rows gain more from an early start."""

THOROUGH = ("-XX:+UseSerialGC",)
"""Both compilers: for many rows. 300,000 injections are fingerprinted and written in half the time."""

_VERSION = 17
_ADVICE = "Java 17 is needed (Debian, Ubuntu: apt install openjdk-17-jre-headless; macOS: brew install openjdk@17)"

_MORE_MEMORY = "give it more memory (raise the limit on address space, `ulimit -v`, or use a larger machine)"


def java() -> tuple[Path, str]:
    """The Java executable (``JAVA_HOME``, else the path) and its version text."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(str(Path(home) / "bin" / "java")) if home else shutil.which("java")
    if found is None:
        where = f"JAVA_HOME={home} contains none" if home else "none is on the path"
        raise DataError(f"{_ADVICE}; {where}")
    text = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(\d+)', text)
    if "initialization of VM" in text:
        raise DataError(f"{found} cannot start ({' '.join(text.split())}): {_MORE_MEMORY}")
    if match is None or int(match.group(1)) != _VERSION:
        version = match.group(1) if match else "an unknown version"
        raise DataError(f"{_ADVICE}; {found} is {version}, set JAVA_HOME to the right one")
    return Path(found), text.strip()


def spark_home() -> Path:
    """The folder of the installed pyspark, which contains Spark's jars."""
    return Path(str(metadata.distribution("pyspark").locate_file("pyspark")))


def classpath() -> list[Path]:
    """Delta's jars, those for S3 and Spark's, in a stable order (an archive of classes is tied to it)."""
    return [*delta_jars(), *s3_jars(), *sorted((spark_home() / "jars").glob("*.jar"))]


def archive(version: str, jars: Sequence[Path]) -> Path:
    """Place of the archive of loaded classes for this Java and these jars.

    With it Spark starts several times faster. The first server writes it when it ends.
    """
    facts = [version, *THOROUGH, *(f"{jar} {jar.stat().st_mtime_ns} {jar.stat().st_size}" for jar in jars)]
    name = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    return cache() / "classes" / f"{name}.jsa"


def delta_jars() -> list[Path]:
    """Local paths of Delta's jars; ``DHS_JARS`` names a folder that contains them if there is no network."""
    given = os.environ.get("DHS_JARS")
    folder = Path(given).expanduser() if given else cache() / "jars"
    if given is None and not all((folder / name).exists() for name in JARS):
        _fetch(folder)
    return [_checked(folder / name) for name in JARS]


def s3_jars() -> list[Path]:
    """The jars with which Spark reads tables on S3, from the folder that ``DHS_S3_JARS`` names; none without it."""
    folder = os.environ.get("DHS_S3_JARS")
    if not folder:
        return []
    found = [Path(folder).expanduser() / name for name in S3_JARS]
    if missing := [str(jar) for jar in found if not jar.is_file()]:
        raise DataError(f"DHS_S3_JARS must name a folder that holds {' and '.join(S3_JARS)}: {missing[0]} is missing")
    return found


def _fetch(folder: Path) -> None:
    """Let Spark resolve and download Delta's packages, and keep the jars with the expected content."""
    fetched = folder / "resolver"
    local = ("spark.ui.enabled=false", "spark.driver.host=127.0.0.1", "spark.driver.bindAddress=127.0.0.1")
    command = [sys.executable, "-P", "-c", _RESOLVE, f"spark.jars.ivy={fetched}", *local]
    environment = {name: value for name, value in os.environ.items() if name != "SPARK_REMOTE"}
    folder.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, timeout=_PATIENCE_SECONDS
        )
        said = done.stderr.strip().splitlines()
    except subprocess.TimeoutExpired:
        said = [f"no response within {_PATIENCE_SECONDS} s"]
    for name in JARS:
        found = next((fetched / "jars").glob(f"*_{name}"), None)
        if found is None:
            why = next((line for line in reversed(said) if "rror" in line or "not found" in line), "".join(said[-1:]))
            raise DataError(
                f"Delta's jar {name} is not in {folder} and Spark could not fetch it ({why.strip()}); "
                "put it there, or set DHS_JARS to a folder that contains it"
            )
        with atomic.replacing(folder / name) as draft:
            shutil.copyfile(found, draft)
    shutil.rmtree(fetched, ignore_errors=True)


def _checked(jar: Path) -> Path:
    if not jar.is_file():
        raise DataError(f"Delta's jar {jar} is missing: put it there, or set DHS_JARS to a folder that contains it")
    found = hashlib.sha256(jar.read_bytes()).hexdigest()
    if found != JARS[jar.name]:
        raise DataError(f"Delta's jar {jar} has sha256 {found}, expected {JARS[jar.name]}: not used; delete it")
    return jar
