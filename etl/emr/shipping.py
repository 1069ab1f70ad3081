"""What a submission ships: the archive of packages, the wheel, and the project's files, each verified after upload."""

from __future__ import annotations

import hashlib
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etl.emr import packages, scripts
from etl.emr.aws import digest_of, held, upload
from etl.emr.cluster import EmrParams
from etl.emr.packages import Node
from lake.errors import DataError

log = logging.getLogger(__name__)

LOCK = "requirements.lock"


@dataclass(frozen=True)
class Submission:
    """A stage to run: ``dhs <arguments>`` with these parameters, what it reads and what it makes."""

    arguments: Sequence[str]
    parameters: str
    cards: Sequence[str]
    """Cards (table or table.slice) that it is expected to make."""
    outputs: Sequence[str] = ()
    """Paths of all it leaves, relative to the project."""
    inputs: Sequence[str] = ()
    """URIs that it reads."""
    files: Sequence[Path] = ()
    """Files of the project that it needs, by paths relative to the project."""
    modules: Sequence[str] = ()
    """Top-level modules of other packages that it imports."""

    @property
    def name(self) -> str:
        return " ".join(self.arguments)


def ship(s3: Any, work: Submission, cluster: EmrParams, node: Node, source: Path, folder: str) -> str:
    """Upload all that the cluster needs below ``folder`` (a URI); returns the sha256 of the step's script."""
    archive = packages.archive(packages.distributions(work.modules), source / LOCK, node)
    files = dict([_archive(s3, archive, cluster), _wheel(s3, source, folder)])
    sums = _project(s3, work, source, folder)
    upload(s3, scripts.bootstrap(cluster, files).encode(), f"{folder}/code/{scripts.BOOTSTRAP}")
    step = scripts.step(cluster, folder, work.arguments, work.outputs, sums)
    return upload(s3, step.encode(), f"{folder}/code/{scripts.STEP}")


def _archive(s3: Any, archive: Path, cluster: EmrParams) -> tuple[str, str]:
    """URI and sha256 of the archive of packages, which submissions share."""
    with archive.open("rb") as file:
        digest = digest_of(file)
    uri = f"{cluster.staging}/packages/{digest}.tar.gz"
    if not held(s3, uri):
        log.info("uploading %.0f MB of packages to %s", archive.stat().st_size / 1e6, uri)
        upload(s3, archive, uri)
    return uri, digest


def _wheel(s3: Any, source: Path, folder: str) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as built:
        wheel = build_wheel(source, Path(built))
        uri = f"{folder}/code/{wheel.name}"
        return uri, upload(s3, wheel, uri)


def build_wheel(source: Path, folder: Path) -> Path:
    """Build the project's wheel into ``folder``, from a copy: files of an earlier build must not be shipped."""
    copy = folder / "source"
    if not source.is_dir():
        raise DataError(f"the wheel could not be built: {source} is not a folder")
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns(".*", "data", "build", "dist", "*.egg-info", "mlruns"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    done = subprocess.run([*command, str(copy)], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise DataError(f"the wheel could not be built:\n{done.stderr[-2000:]}")
    return wheels[0]


def _project(s3: Any, work: Submission, source: Path, folder: str) -> str:
    """Upload the project's files and the list of their hashes; returns the sha256 of that."""
    content: dict[str, bytes | Path] = {str(path): source / path for path in work.files}
    content |= {"main.py": scripts.MAIN.encode(), "params.yaml": work.parameters.encode()}
    sums = {name: upload(s3, each, f"{folder}/project/{name}") for name, each in content.items()}
    listed = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode()
    upload(s3, listed, f"{folder}/project/SHA256SUMS")
    return hashlib.sha256(listed).hexdigest()
