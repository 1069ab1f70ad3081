"""Running a stage on EMR: one cluster, one step, the same code and the same ``dhs run``."""

from __future__ import annotations

import gzip
import hashlib
import logging
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from etl.emr.cluster import EmrParams, preflight
from lake.errors import DarkHaloError, DataError
from lake.files import atomic
from lake.provenance import git_commit
from lake.root import DataRoot

log = logging.getLogger(__name__)

_POLL_SECONDS = 30.0
_LOG_DELAY_SECONDS = 600.0
_LOG_LINES = 40
_CARD = re.compile(r"\w[\w.:+-]*\.json")
"""A key that may be written under ``data/cards``: without folders, so nothing in a bucket reaches another place."""
_ENDED = ("COMPLETED", "FAILED", "CANCELLED", "INTERRUPTED")

_MAIN = "from pipeline.cli import main\n\nmain()\n"
_SHIPPED = (
    "astropy", "click", "deltalake", "duckdb", "filelock", "healpy", "numpy", "pandas", "psutil", "pyarrow", "pydantic",
    "pyyaml", "sqlglot", "tqdm", "xxhash",
)  # fmt: skip
"""Packages that the bootstrap installs, in this environment's versions; Spark and Delta come with EMR."""


@dataclass(frozen=True)
class Submission:
    """A stage to run: ``dhs <arguments>`` with these parameters, and the cards it is expected to make."""

    arguments: Sequence[str]
    parameters: str
    outputs: Sequence[str]
    inputs: Sequence[str] = ()

    @property
    def name(self) -> str:
        return " ".join(self.arguments)


def submit(work: Submission, cluster: EmrParams, root: DataRoot, source: Path) -> list[str]:
    """Run a stage on a cluster of its own and bring its cards back; returns their names.

    ``source`` is the project's folder, from which the wheel is built. The cluster ends with the step, whether that
    succeeds or fails. DarkHaloError with the end of the step's log if it fails.
    """
    aws = boto3.session.Session(region_name=cluster.region)
    preflight(aws, cluster, root, work.outputs, work.inputs)
    folder = f"{cluster.staging_uri.replace('s3a://', 's3://').rstrip('/')}/{uuid.uuid4().hex[:12]}"
    scripts = _upload_project(aws.client("s3"), work, cluster, root, source, folder)
    emr = aws.client("emr")
    job = emr.run_job_flow(**_job_flow(work, cluster, folder, scripts))["JobFlowId"]
    log.info("%s: cluster %s in %s, staged in %s", work.name, job, cluster.region, folder)
    _await(emr, aws.client("s3"), job, work, cluster, folder)
    return _fetch_cards(aws.client("s3"), folder, root)


def _upload_project(
    s3: Any, work: Submission, cluster: EmrParams, root: DataRoot, source: Path, folder: str
) -> Mapping[str, str]:
    with tempfile.TemporaryDirectory() as built:
        wheel = _build_wheel(source, Path(built))
        wheel_uri = f"{folder}/code/{wheel.name}"
        digest = _upload(s3, wheel.read_bytes(), wheel_uri)
    scripts = {"bootstrap": f"{folder}/code/bootstrap.sh", "step": f"{folder}/code/step.sh"}
    files = {
        scripts["bootstrap"]: _bootstrap(cluster, wheel_uri, digest),
        scripts["step"]: _step(cluster, folder, work.arguments),
        f"{folder}/project/main.py": _MAIN,
        f"{folder}/project/params.yaml": work.parameters,
    }
    files |= {f"{folder}/project/data/cards/{p.name}": p.read_text() for p in sorted(root.cards.glob("[!.]*.json"))}
    for uri, text in files.items():
        _upload(s3, text.encode(), uri)
    return scripts


def _build_wheel(source: Path, folder: Path) -> Path:
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


def _upload(s3: Any, content: bytes, uri: str) -> str:
    """Store bytes, read them back, and return their sha256; a difference is an error."""
    bucket, key = _split(uri)
    s3.put_object(Bucket=bucket, Key=key, Body=content)
    digest = hashlib.sha256(content).hexdigest()
    stored = hashlib.sha256(s3.get_object(Bucket=bucket, Key=key)["Body"].read()).hexdigest()
    if stored != digest:
        raise DataError(f"{uri} does not contain what was uploaded (sha256 {stored}, expected {digest})")
    return digest


def _split(uri: str) -> tuple[str, str]:
    """Bucket and key of an s3:// or s3a:// URI."""
    bucket, _, key = uri.split("://", 1)[1].partition("/")
    return bucket, key


def _bootstrap(cluster: EmrParams, wheel_uri: str, digest: str) -> str:
    """The script that every node runs first: it checks the wheel's hash and installs it with what it needs."""
    needed = " ".join(f"{name}=={metadata.version(name)}" for name in _SHIPPED)
    python, uri, wheel = (shlex.quote(text) for text in (cluster.python, wheel_uri, wheel_uri.rsplit("/", 1)[-1]))
    return f"""#!/bin/bash
set -euo pipefail
command -v {python} >/dev/null || sudo dnf install -y {python}
{python} -m pip --version >/dev/null 2>&1 || sudo dnf install -y {python}-pip
cd /tmp && aws s3 cp {uri} {wheel}
printf '%s  %s\\n' {digest} {wheel} | sha256sum --check -
sudo {python} -m pip install --quiet {needed}
sudo {python} -m pip install --quiet --no-deps {wheel}
"""


def _step(cluster: EmrParams, folder_uri: str, arguments: Sequence[str]) -> str:
    """The script of the one step: the stage in the classic session, with this project's parameters and cards."""
    python, region = f"$(command -v {shlex.quote(cluster.python)})", shlex.quote(cluster.region)
    options = {
        "spark.executor.memory": f"{cluster.executor_memory_gb}g",
        "spark.executor.memoryOverhead": f"{cluster.executor_overhead_gb}g",
        "spark.executor.cores": str(cluster.executor_cores),
        "spark.executorEnv.AWS_REGION": cluster.region,
    }
    settings = " ".join(f"--conf {shlex.quote(f'{name}={value}')}" for name, value in options.items())
    return f"""#!/bin/bash
set -euo pipefail
folder=$(mktemp -d) && cd "$folder"
aws s3 cp --recursive {shlex.quote(f"{folder_uri}/project")} .
export PYSPARK_PYTHON={python} PYSPARK_DRIVER_PYTHON={python}
export AWS_REGION={region} DHS_COMMIT={shlex.quote(git_commit())} DHS_SPARK=classic
spark-submit --master yarn --deploy-mode client {settings} main.py {shlex.join(arguments)}
aws s3 cp --recursive data/cards {shlex.quote(f"{folder_uri}/cards")}
"""


def _job_flow(work: Submission, cluster: EmrParams, folder: str, scripts: Mapping[str, str]) -> dict[str, Any]:
    command = f"aws s3 cp {shlex.quote(scripts['step'])} /tmp/step.sh && bash /tmp/step.sh"
    step = {"Jar": "command-runner.jar", "Args": ["bash", "-c", command]}
    groups = [
        {"InstanceRole": "MASTER", "InstanceType": cluster.primary_type, "InstanceCount": 1},
        {"InstanceRole": "CORE", "InstanceType": cluster.core_type, "InstanceCount": cluster.core_count},
    ]
    return {
        "Name": f"darkhaloscope {work.name}",
        "ReleaseLabel": cluster.release,
        "LogUri": f"{folder}/logs/",
        "Applications": [{"Name": "Spark"}],
        "Configurations": [{"Classification": "delta-defaults", "Properties": {"delta.enabled": "true"}}],
        "Instances": {
            "InstanceGroups": groups,
            "Ec2SubnetId": cluster.subnet_id,
            "KeepJobFlowAliveWhenNoSteps": False,
            "TerminationProtected": False,
        },
        "BootstrapActions": [{"Name": "code", "ScriptBootstrapAction": {"Path": scripts["bootstrap"]}}],
        "Steps": [{"Name": work.name, "ActionOnFailure": "TERMINATE_CLUSTER", "HadoopJarStep": step}],
        "ServiceRole": cluster.service_role,
        "JobFlowRole": cluster.instance_profile,
        "VisibleToAllUsers": True,
    }


def _await(emr: Any, s3: Any, job: str, work: Submission, cluster: EmrParams, folder: str) -> None:
    """Wait for the step. The cluster ends when the wait ends for any reason."""
    deadline = time.monotonic() + cluster.step_hours_max * 3600
    try:
        state, step = _state(emr, job)
        while state not in _ENDED:
            if time.monotonic() > deadline:
                raise DarkHaloError(f"{work.name}: still {state} after {cluster.step_hours_max} h on cluster {job}")
            time.sleep(_POLL_SECONDS)
            state, step = _state(emr, job)
    finally:
        emr.terminate_job_flows(JobFlowIds=[job])
    if state != "COMPLETED":
        ending = _log_end(s3, f"{folder}/logs/{job}/steps/{step}/")
        raise DarkHaloError(f"{work.name}: {state} on cluster {job}; its log ends:\n{ending}")
    log.info("%s: completed on cluster %s", work.name, job)


def _state(emr: Any, job: str) -> tuple[str, str]:
    """State and number of the step; a cluster that ended before its step began has failed (a bootstrap error)."""
    step = emr.list_steps(ClusterId=job)["Steps"][0]
    status = emr.describe_cluster(ClusterId=job)["Cluster"]["Status"]
    if status["State"].startswith("TERMINATED") and step["Status"]["State"] not in _ENDED:
        reason = status.get("StateChangeReason", {}).get("Message", "no reason given")
        raise DarkHaloError(f"cluster {job} ended before its step began: {reason}")
    return step["Status"]["State"], step["Id"]


def _log_end(s3: Any, prefix: str) -> str:
    """The last lines of a step's logs, which EMR delivers some minutes after the end."""
    bucket, key = _split(prefix)
    deadline = time.monotonic() + _LOG_DELAY_SECONDS
    while True:
        for name in ("stderr.gz", "stdout.gz", "controller.gz"):
            try:
                packed = s3.get_object(Bucket=bucket, Key=key + name)["Body"].read()
            except ClientError:
                continue
            if (text := gzip.decompress(packed).decode("utf-8", "replace")).strip():
                return "\n".join(text.splitlines()[-_LOG_LINES:])
        if time.monotonic() > deadline:
            return f"(no log arrived in {prefix} within {_LOG_DELAY_SECONDS / 60:.0f} minutes)"
        time.sleep(_POLL_SECONDS)


def _fetch_cards(s3: Any, folder: str, root: DataRoot) -> list[str]:
    bucket, prefix = _split(f"{folder}/cards/")
    names = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            name = entry["Key"].removeprefix(prefix)
            if not _CARD.fullmatch(name):
                log.warning("left in %s%s: its name is not that of a card", prefix, name)
                continue
            text = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read().decode()
            atomic.write_text(root.cards / name, text)
            names.append(name)
    return sorted(names)
