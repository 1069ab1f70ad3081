"""A simulated AWS on this machine: S3, EC2, STS and EMR, whose clusters do nothing by themselves."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from moto.core import DEFAULT_ACCOUNT_ID
from moto.emr.models import emr_backends
from moto.server import ThreadedMotoServer

REGION = "us-east-2"


@dataclass
class Cloud:
    """Addresses of the simulated AWS: environment variables of whatever talks to it, and a bucket of each kind."""

    endpoint: str
    survey: str = field(default_factory=lambda: f"sky-{uuid.uuid4().hex[:8]}")
    lake: str = field(default_factory=lambda: f"lake-{uuid.uuid4().hex[:8]}")
    staging: str = field(default_factory=lambda: f"staging-{uuid.uuid4().hex[:8]}")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str) -> Any:
        own = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": REGION}
        return boto3.client(service, endpoint_url=self.endpoint, **own)

    @property
    def subnet(self) -> str:
        return str(self.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"])

    def upload(self, folder: Path, bucket: str, prefix: str) -> None:
        """Copy the files below a folder."""
        s3 = self.client("s3")
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                s3.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(folder)}")

    def clusters(self) -> list[Any]:
        """The clusters as the simulation holds them (in whatever region), whose states can be set."""
        regions = list(emr_backends[DEFAULT_ACCOUNT_ID].values())
        return [cluster for region in regions for cluster in list(region.clusters.values())]


@contextmanager
def cloud() -> Iterator[Cloud]:
    """A simulated AWS with three buckets."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    made = Cloud(f"http://{host}:{port}")
    try:
        for bucket in (made.survey, made.lake, made.staging):
            made.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        yield made
    finally:
        server.stop()
