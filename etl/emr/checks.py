"""What can be known to be wrong before a cluster is paid for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from etl.emr.config import EmrParams
from lake.errors import DarkHaloError, DataError, LakeError, ParameterError, UnreachableError, invalid
from lake.root import DataRoot
from lake.store import cards, delta

YARN_SHARE = 0.75
"""Part of a node's memory that EMR gives to YARN (EMR's default for the smaller instance types; more on larger)."""


def preflight(aws: Any, cluster: EmrParams, root: DataRoot, outputs: Sequence[str], inputs: Sequence[str]) -> None:
    """Raise on the first thing that would make the submission fail or do what is done.

    ``aws`` is a boto3 session; ``outputs`` are the cards (table or table.slice) the stage makes, ``inputs`` the URIs it
    reads.
    """
    _check_places(root, inputs)
    _check_not_done(root, outputs)
    _check_region(aws, cluster)
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


def _check_region(aws: Any, cluster: EmrParams) -> None:
    regions = aws.get_available_regions("emr")
    if cluster.region not in regions:
        raise invalid("region", f"one of {', '.join(regions)}", cluster.region)


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
    offered = aws.client("ec2", region_name=cluster.region)
    found = offered.describe_instance_types(InstanceTypes=[cluster.core_type])["InstanceTypes"][0]
    node_gb = found["MemoryInfo"]["SizeInMiB"] / 1024
    needed_gb = cluster.executor_memory_gb + cluster.executor_overhead_gb
    if needed_gb > YARN_SHARE * node_gb:
        raise ParameterError(
            f"'executor_memory_gb' + 'executor_overhead_gb' must fit a {cluster.core_type} "
            f"({YARN_SHARE * node_gb:.0f} of its {node_gb:.0f} GiB), got {needed_gb}"
        )
    cores = found["VCpuInfo"]["DefaultVCpus"]
    if cluster.executor_cores > cores:
        raise invalid("executor_cores", f"at most the {cores} of a {cluster.core_type}", cluster.executor_cores)
