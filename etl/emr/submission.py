"""Running a stage on EMR: one cluster, one step, the same code and the same ``dhs run``."""

from __future__ import annotations

import gzip
import hashlib
import logging
import re
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from etl.emr import aws, shipping
from etl.emr.aws import BusyError, client, explained, redacted, split
from etl.emr.cluster import EmrParams, preflight
from etl.emr.scripts import job_flow
from etl.emr.shipping import Submission
from lake.errors import DarkHaloError, DataError
from lake.files import atomic, publishing
from lake.root import DataRoot

log = logging.getLogger(__name__)

_POLL_SECONDS = 30.0
_LOG_DELAY_SECONDS = 600.0
_LOG_LINES = 40
_ENDED = ("COMPLETED", "FAILED", "CANCELLED", "INTERRUPTED")
_GRACE_HOURS = 0.5
"""For the start of the cluster: the step's own limit counts from the step's start."""


def submit(work: Submission, cluster: EmrParams, root: DataRoot, source: Path) -> list[str]:
    """Run a stage on a cluster of its own and bring what it made back; returns the paths, relative to the project.

    ``source`` is the project's folder, from which the wheel is built. The cluster ends with the step, whether that
    succeeds or fails. DarkHaloError with the end of the step's log if it fails.
    """
    session = aws.session(cluster.region)
    node = preflight(session, cluster, root, work.cards, work.inputs)
    folder = f"{cluster.staging}/{uuid.uuid4().hex[:12]}"
    s3, emr = client(session, "s3"), client(session, "emr")
    with explained(cluster.region):
        digest = shipping.ship(s3, work, cluster, node, source, folder)
        job = emr.run_job_flow(**job_flow(work.name, cluster, folder, digest))["JobFlowId"]
    log.info("%s: cluster %s in %s, staged in %s", work.name, job, cluster.region, folder)
    state, step = _awaited(emr, job, work, cluster)
    with explained(cluster.region):
        if state != "COMPLETED":
            ending = _log_end(s3, f"{folder}/logs/{job}/steps/{step}/")
            raise DarkHaloError(f"{work.name}: {state} on cluster {job}; its log ends:\n{redacted(ending)}")
        log.info("%s: completed on cluster %s", work.name, job)
        return _fetched(s3, folder, work.outputs, source)


def _awaited(emr: Any, job: str, work: Submission, cluster: EmrParams) -> tuple[str, str]:
    """State and number of the step at its end. The cluster ends when the wait ends for any reason."""
    hours = cluster.step_hours_max + _GRACE_HOURS
    deadline = time.monotonic() + hours * 3600
    state, step = "PENDING", ""
    try:
        while state not in _ENDED:
            if time.monotonic() > deadline:
                raise DarkHaloError(
                    f"{work.name} is still {state} after {hours:g} h on cluster {job}, which is ended: raise "
                    "step_hours_max and submit it again"
                )
            try:
                with explained(cluster.region):
                    state, step = _state(emr, job)
            except BusyError as error:
                log.warning("%s", error)
            time.sleep(0 if state in _ENDED else _POLL_SECONDS)
    finally:
        _end(emr, job, cluster)
    return state, step


def _end(emr: Any, job: str, cluster: EmrParams) -> None:
    """End a cluster; one that may go on is named, since it costs money."""
    try:
        with explained(cluster.region):
            emr.terminate_job_flows(JobFlowIds=[job])
    except DataError as error:
        log.error("cluster %s in %s may still run: end it (%s)", job, cluster.region, error)


def _state(emr: Any, job: str) -> tuple[str, str]:
    """State and number of the step; a cluster that ended before its step did is an error.

    The cluster is asked first: a step that ends in between, and its cluster with it, has not failed.
    """
    status = emr.describe_cluster(ClusterId=job)["Cluster"]["Status"]
    step = emr.list_steps(ClusterId=job)["Steps"][0]
    if status["State"].startswith("TERMINATED") and step["Status"]["State"] not in _ENDED:
        reason = status.get("StateChangeReason", {}).get("Message") or "no reason given"
        when = "while its step ran" if step["Status"]["State"] == "RUNNING" else "before its step began"
        raise DarkHaloError(f"cluster {job} ended {when}: {reason}")
    return step["Status"]["State"], step["Id"]


def _log_end(s3: Any, prefix: str) -> str:
    """The last lines of a step's logs, which EMR delivers some minutes after the end."""
    bucket, key = split(prefix)
    deadline = time.monotonic() + _LOG_DELAY_SECONDS
    while True:
        for name in ("stderr.gz", "stdout.gz", "controller.gz"):
            try:
                packed = s3.get_object(Bucket=bucket, Key=key + name)["Body"].read()
            except ClientError as error:
                if error.response["Error"]["Code"] != "NoSuchKey":
                    raise
                continue
            if (text := gzip.decompress(packed).decode("utf-8", "replace")).strip():
                return "\n".join(text.splitlines()[-_LOG_LINES:])
        if time.monotonic() > deadline:
            return f"(no log arrived in {prefix} within {_LOG_DELAY_SECONDS / 60:.0f} minutes)"
        time.sleep(_POLL_SECONDS)


def _fetched(s3: Any, folder: str, outputs: Sequence[str], project: Path) -> list[str]:
    """Bring what the stage left to its places: only at ``outputs`` or below, with the bytes that the cluster hashed.

    A folder of ``outputs`` is replaced as a whole. Cards come last: they say that the rest is there.
    """
    bucket, key = split(folder)
    told = s3.get_object(Bucket=bucket, Key=f"{key}/SUMS")["Body"].read().decode()
    sums: Mapping[str, str] = dict(reversed(line.split("  ", 1)) for line in told.splitlines())
    allowed = [re.compile(rf"{re.escape(out)}(/[\w.+:-]*\w[\w.+:-]*)*") for out in outputs]
    names = sorted(name for name in sums if any(pattern.fullmatch(name) for pattern in allowed))
    for name in sorted(set(sums) - set(names)):
        log.warning("left in %s/results/%s: no output of the stage", folder, name)

    def fetch(name: str, place: Path) -> None:
        content = s3.get_object(Bucket=bucket, Key=f"{key}/results/{name}")["Body"].read()
        if hashlib.sha256(content).hexdigest() != sums[name]:
            raise DataError(f"{folder}/results/{name} has changed since the cluster made it: submit the stage again")
        with atomic.replacing(place) as draft:
            draft.write_bytes(content)

    held = {out: [name for name in names if name.startswith(f"{out}/")] for out in outputs}
    for out, below in held.items():
        if below:
            _replace(project / out, {name.removeprefix(f"{out}/"): name for name in below}, fetch)
    single = set(names) - {name for below in held.values() for name in below}
    for name in sorted(single, key=lambda each: (each.startswith("data/cards/"), not each.endswith(".pin.json"))):
        fetch(name, project / name)
    return names


def _replace(target: Path, files: Mapping[str, str], fetch: Callable[[str, Path], None]) -> None:
    """Put a folder of fetched files (by their paths in it) at ``target``, in place of any earlier folder."""
    draft = target.with_name(f".{target.name}.fetched")
    shutil.rmtree(draft, ignore_errors=True)
    for path, name in files.items():
        fetch(name, draft / path)
    publishing.replace_folder(target, draft)
