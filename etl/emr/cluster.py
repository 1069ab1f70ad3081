"""The cluster that a stage is submitted to, and the checks made before it is paid for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from botocore.exceptions import ClientError
from pydantic import Field

from etl.emr.aws import client, explained
from etl.emr.packages import Node
from lake.config import Section
from lake.errors import DarkHaloError, LakeError, ParameterError, UnreachableError, invalid, not_one_of
from lake.root import DataRoot
from lake.store import cards, delta

log = logging.getLogger(__name__)

_YARN_SHARE = 0.75
"""Part of a node's memory that EMR gives to YARN, by default on the smaller instance types; larger ones give more."""
_PROCESSORS = {"x86_64": "x86_64", "arm64": "aarch64"}
"""What AWS and Python call the same processor."""


class EmrParams(Section):
    """One cluster, made for one stage and ended with it."""

    region: str
    """AWS region; there is no default."""
    subnet_id: str
    """Subnet of that region in which the cluster runs."""
    staging_uri: str = Field(pattern=r"^s3a?://[^/]+/.+")
    """Place of code, parameters, results and logs: s3://bucket/prefix, in a bucket of that region."""
    release: str = Field(default="emr-spark-8.0.0", pattern=r"^emr-(7\.(?:1[1-9]|[2-9]\d)\.\d+|spark-8\.\d+\.\d+)$")
    """EMR release: emr-spark-8.x has Spark 4.0 and Delta 4.0; emr-7.11.0 and later have Spark 3.5 and Delta 3.3."""
    service_role: str = "EMR_DefaultRole"
    """Role of the service."""
    instance_profile: str = "EMR_EC2_DefaultRole"
    """Role of the machines; must reach the staging area, the lake and the survey."""
    primary_type: str
    """Instance type of the primary node."""
    core_type: str
    """Instance type of the worker nodes."""
    core_count: int = Field(ge=1)
    """Number of worker nodes."""
    executor_memory_gb: int = Field(ge=1)
    """Heap of one executor."""
    executor_overhead_gb: int = Field(ge=1)
    """Memory of one executor outside the heap: Python workers."""
    executor_cores: int = Field(ge=1)
    """Cores of one executor."""
    python: str = Field(default="python3.11", pattern=r"^python3\.1[1-3]$")
    """Python of the cluster's nodes."""
    step_hours_max: float = Field(gt=0)
    """How long the stage may take; the cluster is then ended."""

    @property
    def staging(self) -> str:
        """The staging area by the name that AWS's own tools take."""
        return self.staging_uri.replace("s3a://", "s3://", 1).rstrip("/")


def preflight(aws: Any, cluster: EmrParams, root: DataRoot, outputs: Sequence[str], inputs: Sequence[str]) -> Node:
    """Raise the first reason why the submission would fail, or why it is not needed; what its nodes are.

    ``aws`` is a boto3 session. ``outputs`` are the cards (table or table.slice) that the stage makes, ``inputs`` the
    URIs that it reads.
    """
    _check_places(root, inputs)
    _check_not_done(root, outputs)
    if cluster.region not in (regions := aws.get_available_regions("emr")):
        raise not_one_of("region", regions, cluster.region)
    with explained(cluster.region):
        client(aws, "sts").get_caller_identity()
        _check_subnet(aws, cluster)
        _check_staging(client(aws, "s3"), cluster)
        processor = _check_sizes(aws, cluster)
    return Node(cluster.python.removeprefix("python"), processor)


def _check_places(root: DataRoot, inputs: Sequence[str]) -> None:
    if root.lake_uri is None:
        raise invalid("survey.lake_uri", "an s3:// prefix on EMR", None)
    for place in inputs:
        if not place.startswith(("s3://", "s3a://")):
            raise invalid("input", "on S3 (s3:// or s3a://), where the cluster can read it", place)


def _check_not_done(root: DataRoot, outputs: Sequence[str]) -> None:
    done = []
    for name in outputs:
        table, _, slice_name = name.partition(".")
        try:
            delta.open_pinned(root, cards.read_slice(root, table, slice_name or None))
        except UnreachableError:
            raise
        except LakeError:
            continue
        done.append(name)
    if outputs and len(done) == len(outputs):
        raise DarkHaloError(f"already complete: {', '.join(done)}; remove their cards from {root.cards} to remake them")


def _check_subnet(aws: Any, cluster: EmrParams) -> None:
    asked = [{"Name": "subnet-id", "Values": [cluster.subnet_id]}]
    if not client(aws, "ec2").describe_subnets(Filters=asked)["Subnets"]:
        raise invalid("subnet_id", f"a subnet of {cluster.region}", cluster.subnet_id)


def _check_staging(s3: Any, cluster: EmrParams) -> None:
    bucket = cluster.staging.split("/")[2]
    try:
        s3.head_bucket(Bucket=bucket)
        # AWS calls its first region by no name here.
        place = s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] or "us-east-1"
    except ClientError as error:
        raise invalid("staging_uri", f"in a bucket you can reach ({error})", cluster.staging_uri) from error
    if place != cluster.region:
        raise invalid("staging_uri", f"in a bucket of {cluster.region}, this one is in {place}", cluster.staging_uri)


def _check_sizes(aws: Any, cluster: EmrParams) -> str:
    """The processor of the nodes, on which the executors must fit."""
    core = _instance(aws, "core_type", cluster.core_type)
    primary = _instance(aws, "primary_type", cluster.primary_type)
    node_gb = core["MemoryInfo"]["SizeInMiB"] / 1024
    needed_gb = cluster.executor_memory_gb + cluster.executor_overhead_gb
    if needed_gb > _YARN_SHARE * node_gb:
        raise ParameterError(
            f"'executor_memory_gb' + 'executor_overhead_gb' must fit a {cluster.core_type} "
            f"({_YARN_SHARE * node_gb:.0f} of its {node_gb:.0f} GiB), got {needed_gb}"
        )
    cores = core["VCpuInfo"]["DefaultVCpus"]
    if cluster.executor_cores > cores:
        raise invalid("executor_cores", f"at most the {cores} of a {cluster.core_type}", cluster.executor_cores)
    kinds = [set(each["ProcessorInfo"]["SupportedArchitectures"]) & set(_PROCESSORS) for each in (core, primary)]
    if kinds[0] != kinds[1] or len(kinds[0]) != 1:
        raise invalid("primary_type", f"of the processor of {cluster.core_type}", cluster.primary_type)
    share = min(int(_YARN_SHARE * node_gb // needed_gb), cores // cluster.executor_cores)
    log.info("%d nodes of %d executors each", cluster.core_count, share)
    return _PROCESSORS[kinds[0].pop()]


def _instance(aws: Any, name: str, kind: str) -> Any:
    try:
        found = client(aws, "ec2").describe_instance_types(InstanceTypes=[kind])["InstanceTypes"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidInstanceType":
            raise
        found = []
    if not found:
        raise invalid(name, "an instance type of the region", kind)
    return found[0]
