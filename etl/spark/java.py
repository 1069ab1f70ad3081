"""The Java virtual machine that a local Spark runs on."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from etl.spark.jars import cache, delta_jars
from lake.errors import DataError

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
"""Only the quick compiler and the simple collector: short local jobs gain more from an early start."""

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
    """Delta's jars and Spark's, in a stable order (an archive of classes is tied to it)."""
    return [*delta_jars(), *sorted((spark_home() / "jars").glob("*.jar"))]


def archive(version: str, jars: Sequence[Path]) -> Path:
    """Place of the archive of loaded classes for this Java and these jars.

    With it Spark starts several times faster. The first server writes it when it ends.
    """
    facts = [version, *QUICK_START, *(f"{jar} {jar.stat().st_mtime_ns} {jar.stat().st_size}" for jar in jars)]
    name = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    return cache() / "classes" / f"{name}.jsa"
