"""Delta's jars for a local Spark: fetched once from Maven Central, checked, cached."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path

from lake.errors import DataError

MAVEN_CENTRAL = "https://repo1.maven.org/maven2"
JARS: dict[str, str] = {
    "io/delta/delta-spark_2.13/4.0.1/delta-spark_2.13-4.0.1.jar": (
        "a1e76860b19fe1e6b205a4ea7a9099a2f9575d39bb71d49b3e679b299d0efb91"
    ),
    "io/delta/delta-storage/4.0.1/delta-storage-4.0.1.jar": (
        "ecc42c5aaa51c423312d9e4e48aa4a12b34740bf2c37de0e8f279277ec3d12e4"
    ),
}
"""Maven path and sha256 of what pyspark itself does not ship (antlr4 and Spark Connect come with it)."""


def cache() -> Path:
    """Folder of what is fetched or built once per machine."""
    return Path(os.environ.get("DHS_CACHE", "~/.cache/darkhaloscope")).expanduser()


def delta_jars() -> list[Path]:
    """Local paths of Delta's jars; ``DHS_JARS`` names a folder that holds them where there is no network."""
    folder = Path(os.environ["DHS_JARS"]).expanduser() if "DHS_JARS" in os.environ else cache() / "jars"
    return [_fetch(place, digest, folder) for place, digest in JARS.items()]


def _fetch(place: str, digest: str, folder: Path) -> Path:
    target = folder / place.rsplit("/", 1)[-1]
    if target.exists() and _sha256(target.read_bytes()) == digest:
        return target
    url = f"{MAVEN_CENTRAL}/{place}"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            content = answer.read()
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise DataError(
            f"Delta's jar {target.name} is not in {folder} and cannot be fetched from {url} ({error}); "
            "put it there, or set DHS_JARS to a folder that holds it"
        ) from error
    if _sha256(content) != digest:
        raise DataError(f"{url} has sha256 {_sha256(content)}, expected {digest}: not used")
    folder.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(target)
    return target


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
