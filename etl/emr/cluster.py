"""The cluster that a stage is submitted to, and the checks made before it is paid for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import Field

from lake.config import Section
from lake.errors import DarkHaloError, DataError, LakeError, ParameterError, UnreachableError, invalid, not_one_of
from lake.root import DataRoot
from lake.store import cards, delta

_YARN_SHARE = 0.75
"""Part of a node's memory that EMR gives to YARN, by default on the smaller instance types; larger ones give more."""


class EmrParams(Section):
    """One cluster, made for one stage and ended with it."""

    region: str
    """AWS region; there is no default."""
    subnet_id: str
    """Subnet of that region in which the cluster runs."""
    staging_uri: str = Field(pattern=r"^s3a?://[^/]+/.+")
    """Place of code, parameters, cards and logs: s3://bucket/prefix."""
    release: str = "emr-spark-8.0.0"
    """EMR release; it must have Spark 4 (releases 7.x have 3.5)."""
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
    python: str = "python3.11"
    """Python of the cluster's nodes."""
    step_hours_max: float = Field(gt=0)
    """How long to wait for the stage before giving up (the cluster is then ended)."""


def preflight(aws: Any, cluster: EmrParams, root: DataRoot, outputs: Sequence[str], inputs: Sequence[str]) -> None:
    """Raise the first reason why the submission would fail, or why it is not needed.

    ``aws`` is a boto3 session. ``outputs`` are the cards (table or table.slice) that the stage makes, ``inputs`` the
    URIs that it reads.
    """
    _check_places(root, inputs)
    _check_not_done(root, outputs)
    if cluster.region not in (regions := aws.get_available_regions("emr")):
        raise not_one_of("region", regions, cluster.region)
    try:
        _check_account(aws, cluster)
        _check_executors(aws, cluster)
    except (ClientError, BotoCoreError) as error:
        raise DataError(f"AWS, region {cluster.region}: {error}") from error


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


def _check_account(aws: Any, cluster: EmrParams) -> None:
    if aws.get_credentials() is None:
        raise DataError("no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    aws.client("sts", region_name=cluster.region).get_caller_identity()
    ec2 = aws.client("ec2", region_name=cluster.region)
    found = ec2.describe_subnets(Filters=[{"Name": "subnet-id", "Values": [cluster.subnet_id]}])["Subnets"]
    if not found:
        raise invalid("subnet_id", f"a subnet of {cluster.region}", cluster.subnet_id)
    bucket = cluster.staging_uri.split("/")[2]
    try:
        aws.client("s3", region_name=cluster.region).head_bucket(Bucket=bucket)
    except ClientError as error:
        raise invalid("staging_uri", f"in a bucket you can reach ({error})", cluster.staging_uri) from error


def _check_executors(aws: Any, cluster: EmrParams) -> None:
    ec2 = aws.client("ec2", region_name=cluster.region)
    found = ec2.describe_instance_types(InstanceTypes=[cluster.core_type])["InstanceTypes"][0]
    node_gb = found["MemoryInfo"]["SizeInMiB"] / 1024
    needed_gb = cluster.executor_memory_gb + cluster.executor_overhead_gb
    if needed_gb > _YARN_SHARE * node_gb:
        raise ParameterError(
            f"'executor_memory_gb' + 'executor_overhead_gb' must fit a {cluster.core_type} "
            f"({_YARN_SHARE * node_gb:.0f} of its {node_gb:.0f} GiB), got {needed_gb}"
        )
    cores = found["VCpuInfo"]["DefaultVCpus"]
    if cluster.executor_cores > cores:
        raise invalid("executor_cores", f"at most the {cores} of a {cluster.core_type}", cluster.executor_cores)
