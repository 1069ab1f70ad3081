"""What a cluster needs from here: the wheel, the parameters, the cards, and the scripts that use them."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from etl.emr.config import SHIPPED, EmrParams
from lake.errors import DataError
from lake.provenance import git_commit

MAIN = "from pipeline.cli import main\n\nmain()\n"


def build_wheel(source: Path, folder: Path) -> Path:
    """Build the project's wheel into ``folder``, from a copy: an earlier build's leavings must not be shipped."""
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


def upload(s3: Any, content: bytes, uri: str) -> str:
    """Store bytes, read them back, and return their sha256; a difference is an error."""
    bucket, key = split(uri)
    s3.put_object(Bucket=bucket, Key=key, Body=content)
    digest = hashlib.sha256(content).hexdigest()
    stored = hashlib.sha256(s3.get_object(Bucket=bucket, Key=key)["Body"].read()).hexdigest()
    if stored != digest:
        raise DataError(f"{uri} does not contain what was uploaded (sha256 {stored}) than were uploaded ({digest})")
    return digest


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of an s3:// or s3a:// URI."""
    bucket, _, key = uri.split("://", 1)[1].partition("/")
    return bucket, key


def bootstrap(cluster: EmrParams, wheel_uri: str, digest: str) -> str:
    """Script every node runs first: the wheel, its hash checked, and what it needs."""
    wheel, needed = wheel_uri.rsplit("/", 1)[-1], [f"{name}=={metadata.version(name)}" for name in SHIPPED]
    python, wheel_uri, wheel = shlex.quote(cluster.python), shlex.quote(wheel_uri), shlex.quote(wheel)
    return "\n".join(
        [
            "#!/bin/bash",
            "set -euo pipefail",
            f"command -v {python} >/dev/null || sudo dnf install -y {python}",
            f"{python} -m pip --version >/dev/null 2>&1 || sudo dnf install -y {python}-pip",
            f"cd /tmp && aws s3 cp {wheel_uri} {wheel}",
            f"printf '%s  %s\\n' {digest} {wheel} | sha256sum --check -",
            f"sudo {python} -m pip install --quiet {' '.join(needed)}",
            f"sudo {python} -m pip install --quiet --no-deps {wheel}",
            "",
        ]
    )


def step(cluster: EmrParams, folder_uri: str, arguments: list[str]) -> str:
    """Script of the one step: the stage in the classic session, on this project's parameters and cards."""
    python, project = f"$(command -v {shlex.quote(cluster.python)})", shlex.quote(f"{folder_uri}/project")
    return "\n".join(
        [
            "#!/bin/bash",
            "set -euo pipefail",
            'folder=$(mktemp -d) && cd "$folder"',
            f"aws s3 cp --recursive {project} .",
            f"export PYSPARK_PYTHON={python} PYSPARK_DRIVER_PYTHON={python}",
            f"export AWS_REGION={shlex.quote(cluster.region)} DHS_COMMIT={shlex.quote(git_commit())} DHS_SPARK=classic",
            f"spark-submit --master yarn --deploy-mode client {' '.join(_spark_options(cluster))} main.py "
            + " ".join(shlex.quote(argument) for argument in arguments),
            f"aws s3 cp --recursive data/cards {shlex.quote(f'{folder_uri}/cards')}",
            "",
        ]
    )


def _spark_options(cluster: EmrParams) -> list[str]:
    options = {
        "spark.executor.memory": f"{cluster.executor_memory_gb}g",
        "spark.executor.memoryOverhead": f"{cluster.executor_overhead_gb}g",
        "spark.executor.cores": str(cluster.executor_cores),
        "spark.executorEnv.AWS_REGION": cluster.region,
    }
    return ["--conf " + shlex.quote(f"{name}={value}") for name, value in options.items()]
