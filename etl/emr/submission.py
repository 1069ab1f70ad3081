"""Running a stage on EMR: one cluster, one step, the same code and the same ``dhs run``."""

from __future__ import annotations

import gzip
import logging
import re
import shlex
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from etl.emr import code
from etl.emr.checks import preflight
from etl.emr.config import EmrParams
from lake.errors import DarkHaloError
from lake.files import atomic
from lake.root import DataRoot

log = logging.getLogger(__name__)

_POLL_SECONDS = 30.0
_LOG_DELAY_SECONDS = 600.0
_LOG_LINES = 40
_CARD = re.compile(r"\w[\w.:+-]*\.json")
"""A key that may be written under ``data/cards``: without folders, so nothing in a bucket can reach another place."""
_ENDED = ("COMPLETED", "FAILED", "CANCELLED", "INTERRUPTED")


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
    """Run a stage on a cluster of its own and bring its cards back; their names.

    ``source`` is the project's folder, from which the wheel is built. The cluster ends with the step, however it ends.
    Raises with the end of the step's log where it fails.
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
        wheel = code.build_wheel(source, Path(built))
        wheel_uri = f"{folder}/code/{wheel.name}"
        digest = code.upload(s3, wheel.read_bytes(), wheel_uri)
    scripts = {"bootstrap": f"{folder}/code/bootstrap.sh", "step": f"{folder}/code/step.sh"}
    files = {
        scripts["bootstrap"]: code.bootstrap(cluster, wheel_uri, digest),
        scripts["step"]: code.step(cluster, folder, list(work.arguments)),
        f"{folder}/project/main.py": code.MAIN,
        f"{folder}/project/params.yaml": work.parameters,
    }
    files |= {f"{folder}/project/data/cards/{p.name}": p.read_text() for p in sorted(root.cards.glob("[!.]*.json"))}
    for uri, text in files.items():
        code.upload(s3, text.encode(), uri)
    return scripts


def _job_flow(work: Submission, cluster: EmrParams, folder: str, scripts: Mapping[str, str]) -> dict[str, Any]:
    def group(role: str, kind: str, count: int) -> dict[str, Any]:
        return {"InstanceRole": role, "InstanceType": kind, "InstanceCount": count, "Market": "ON_DEMAND"}

    step = scripts["step"]
    return {
        "Name": f"darkhaloscope {work.name}",
        "ReleaseLabel": cluster.release,
        "LogUri": f"{folder}/logs/",
        "Applications": [{"Name": "Spark"}],
        "Configurations": [{"Classification": "delta-defaults", "Properties": {"delta.enabled": "true"}}],
        "Instances": {
            "InstanceGroups": [
                group("MASTER", cluster.primary_type, 1),
                group("CORE", cluster.core_type, cluster.core_count),
            ],
            "Ec2SubnetId": cluster.subnet_id,
            "KeepJobFlowAliveWhenNoSteps": False,
            "TerminationProtected": False,
        },
        "BootstrapActions": [{"Name": "code", "ScriptBootstrapAction": {"Path": scripts["bootstrap"]}}],
        "Steps": [
            {
                "Name": work.name,
                "ActionOnFailure": "TERMINATE_CLUSTER",
                "HadoopJarStep": {
                    "Jar": "command-runner.jar",
                    "Args": ["bash", "-c", f"aws s3 cp {shlex.quote(step)} /tmp/step.sh && bash /tmp/step.sh"],
                },
            }
        ],
        "ServiceRole": cluster.service_role,
        "JobFlowRole": cluster.instance_profile,
        "VisibleToAllUsers": True,
    }


def _await(emr: Any, s3: Any, job: str, work: Submission, cluster: EmrParams, folder: str) -> None:
    """Wait for the step; whatever ends the wait ends the cluster."""
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
    bucket, key = code.split(prefix)
    deadline = time.monotonic() + _LOG_DELAY_SECONDS
    while True:
        for name in ("stderr.gz", "stdout.gz", "controller.gz"):
            try:
                text = gzip.decompress(s3.get_object(Bucket=bucket, Key=key + name)["Body"].read()).decode(
                    "utf-8", "replace"
                )
            except ClientError:
                continue
            if text.strip():
                return "\n".join(text.splitlines()[-_LOG_LINES:])
        if time.monotonic() > deadline:
            return f"(no log arrived in {prefix} within {_LOG_DELAY_SECONDS / 60:.0f} minutes)"
        time.sleep(_POLL_SECONDS)


def _fetch_cards(s3: Any, folder: str, root: DataRoot) -> list[str]:
    bucket, prefix = code.split(f"{folder}/cards/")
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
