"""Submission to EMR, against a simulated AWS."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import botocore.loaders
import botocore.session
import pyarrow as pa
import pytest
import yaml
from moto import mock_aws

from etl.emr import submission
from etl.emr.cluster import EmrParams
from etl.emr.submission import Submission
from lake import tables
from lake.errors import DarkHaloError, DataError, ParameterError
from lake.root import DataRoot
from lake.store import writing
from lake.store.writing import Provenance, Target

REPOSITORY = Path(__file__).resolve().parents[2]
REGION = "us-east-2"
WORK = Submission(("run", "pool"), "survey: {}\n", ("ingest_counts.pool",), ("s3://survey/dr10",))


@pytest.fixture(scope="module", autouse=True)
def _descriptions_read_once() -> Iterator[None]:
    """The descriptions of AWS's services, megabytes of JSON, are read once for all sessions."""
    loader = botocore.loaders.create_loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", lambda path=None: loader)
        yield


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[boto3.session.Session]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # thousands of images, which no cluster here needs
    with mock_aws():
        session = boto3.session.Session(region_name=REGION)
        session.client("s3").create_bucket(Bucket="staging", CreateBucketConfiguration={"LocationConstraint": REGION})
        yield session


@pytest.fixture
def cluster(aws: boto3.session.Session) -> EmrParams:
    """The cluster of docs/emr.md, in a subnet that exists."""
    example = re.search(r"```yaml\n(.*?)```", (REPOSITORY / "docs" / "emr.md").read_text(), re.DOTALL)
    assert example
    subnet = aws.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    values = yaml.safe_load(example.group(1)) | {"subnet_id": subnet, "staging_uri": "s3a://staging/dhs"}
    return EmrParams.load(values, "emr")


@pytest.fixture
def remote_root(tmp_path: Path) -> DataRoot:
    root = DataRoot.of(tmp_path / "data", "s3a://lake/tables")
    root.cards.mkdir(parents=True)
    (root.cards / "lens_candidates.json").write_text("{}")
    return root


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel that is not built, and no waiting."""

    def wheel(source: Path, folder: Path) -> Path:
        made = folder / "darkhaloscope-0.1.0-py3-none-any.whl"
        made.write_bytes(b"wheel")
        return made

    monkeypatch.setattr(submission, "_build_wheel", wheel)
    monkeypatch.setattr(submission, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(submission, "_LOG_DELAY_SECONDS", 0.0)


def objects(aws: boto3.session.Session) -> dict[str, bytes]:
    s3 = aws.client("s3")
    listed = s3.list_objects_v2(Bucket="staging").get("Contents", [])
    return {e["Key"]: s3.get_object(Bucket="staging", Key=e["Key"])["Body"].read() for e in listed}


def ends(monkeypatch: pytest.MonkeyPatch, aws: boto3.session.Session, state: str, files: dict[str, bytes]) -> None:
    """Let the step end in ``state`` and leave ``files`` (keys below the staging folder)."""

    def answer(client: Any, job: str) -> tuple[str, str]:
        folder = next(key for key in objects(aws) if key.endswith("/project/main.py")).removesuffix("/project/main.py")
        for key, content in files.items():
            aws.client("s3").put_object(Bucket="staging", Key=f"{folder}/{key.format(job=job)}", Body=content)
        return state, "s-1"

    monkeypatch.setattr(submission, "_state", answer)


@pytest.mark.usefixtures("quick")
def test_a_stage_is_shipped_run_and_its_cards_brought_back(
    aws: boto3.session.Session, cluster: EmrParams, remote_root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends(monkeypatch, aws, "COMPLETED", {"cards/ingest_counts.pool.json": b'{"rows": 1}'})
    assert submission.submit(WORK, cluster, remote_root, REPOSITORY) == ["ingest_counts.pool.json"]
    assert json.loads((remote_root.cards / "ingest_counts.pool.json").read_text()) == {"rows": 1}

    stored = {key.split("/", 2)[2]: content for key, content in objects(aws).items()}
    assert stored["project/params.yaml"] == b"survey: {}\n"
    assert stored["project/data/cards/lens_candidates.json"] == b"{}"
    assert hashlib.sha256(b"wheel").hexdigest().encode() in stored["code/bootstrap.sh"]
    assert b"pyspark" not in stored["code/bootstrap.sh"]
    assert b"main.py run pool" in stored["code/step.sh"]

    client = aws.client("emr")
    job = client.list_clusters()["Clusters"][0]["Id"]
    made = client.describe_cluster(ClusterId=job)["Cluster"]
    assert made["AutoTerminate"]
    assert made["Status"]["State"].startswith("TERMINAT")
    assert client.list_steps(ClusterId=job)["Steps"][0]["ActionOnFailure"] == "TERMINATE_CLUSTER"


@pytest.mark.usefixtures("quick")
def test_a_key_of_the_bucket_reaches_no_other_place_than_the_cards(
    aws: boto3.session.Session, cluster: EmrParams, remote_root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = {"cards/../../outside.json": b"{}", "cards/sub/x.json": b"{}", "cards/.hidden.json": b"{}"}
    ends(monkeypatch, aws, "COMPLETED", {**planted, "cards/ingest_counts.pool.json": b"{}"})
    before = set(remote_root.local.parent.rglob("*.json"))
    assert submission.submit(WORK, cluster, remote_root, REPOSITORY) == ["ingest_counts.pool.json"]
    assert set(remote_root.local.parent.rglob("*.json")) - before == {remote_root.cards / "ingest_counts.pool.json"}


def test_fields_of_the_cluster_are_not_run_as_shell(cluster: EmrParams, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    hostile = f"x; touch {mark}; $(touch {mark})"
    bad = cluster.model_copy(update={"python": hostile, "region": hostile})
    scripts = submission._bootstrap(bad, f"s3://b/{hostile}.whl", "0" * 64) + submission._step(
        bad, f"s3://b/{hostile}", []
    )
    for line in scripts.splitlines():
        if not line.startswith(("cd ", "folder=", "#!")):
            subprocess.run(["/bin/bash", "-c", line], env={"PATH": str(tmp_path)}, capture_output=True, check=False)
    step = submission._job_flow(WORK, bad, "s3://b/x", {"bootstrap": "b", "step": hostile})["Steps"][0]
    subprocess.run(["/bin/bash", "-c", step["HadoopJarStep"]["Args"][2]], env={"PATH": "/bin:/usr/bin"}, check=False)
    assert not mark.exists()


@pytest.mark.usefixtures("quick")
def test_a_failed_step_shows_the_end_of_its_log(
    aws: boto3.session.Session, cluster: EmrParams, remote_root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\n".join([*(f"line {i}" for i in range(100)), "DataError: sweep is truncated"])
    ends(monkeypatch, aws, "FAILED", {"logs/{job}/steps/s-1/stderr.gz": gzip.compress(text.encode())})
    with pytest.raises(
        DarkHaloError, match=r"(?s)run pool: FAILED on cluster .*line 99\nDataError: sweep is truncated"
    ):
        submission.submit(WORK, cluster, remote_root, REPOSITORY)
    ends(monkeypatch, aws, "FAILED", {})
    with pytest.raises(DarkHaloError, match="no log arrived"):
        submission.submit(replace(WORK, arguments=("run", "other")), cluster, remote_root, REPOSITORY)


@pytest.mark.usefixtures("quick")
def test_a_cluster_that_dies_before_its_step_is_a_failure(
    aws: boto3.session.Session, cluster: EmrParams, remote_root: DataRoot
) -> None:
    client = aws.client("emr")
    job = client.run_job_flow(
        **submission._job_flow(WORK, cluster, "s3://staging/x", {"bootstrap": "s3://b", "step": "s3://s"})
    )
    client.terminate_job_flows(JobFlowIds=[job["JobFlowId"]])
    with pytest.raises(DarkHaloError, match="ended before its step began"):
        submission._state(client, job["JobFlowId"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"region": "us-easter-2"}, r"'region' must be one of .*us-east-2.* got 'us-easter-2'"),
        ({"subnet_id": "subnet-0"}, r"'subnet_id' must be a subnet of us-east-2, got 'subnet-0'"),
        ({"staging_uri": "s3://elsewhere/x"}, "'staging_uri' must be in a bucket you can reach"),
        ({"executor_memory_gb": 60}, r"must fit a r6i\.2xlarge \(48 of its 64 GiB\), got 72"),
        ({"executor_cores": 9}, r"'executor_cores' must be at most the 8 of a r6i\.2xlarge, got 9"),
    ],
)
def test_a_cluster_that_cannot_work_is_refused(
    cluster: EmrParams, remote_root: DataRoot, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        submission.submit(WORK, cluster.model_copy(update=change), remote_root, REPOSITORY)


@pytest.mark.usefixtures("aws")
def test_places_the_cluster_cannot_reach_are_refused(cluster: EmrParams, remote_root: DataRoot) -> None:
    with pytest.raises(ParameterError, match=r"'survey\.lake_uri' must be an s3:// prefix"):
        submission.submit(WORK, cluster, DataRoot.of(remote_root.local), REPOSITORY)
    with pytest.raises(ParameterError, match=r"'input' must be on S3 .*got 'data/survey'"):
        submission.submit(replace(WORK, inputs=("data/survey",)), cluster, remote_root, REPOSITORY)


@pytest.mark.usefixtures("aws")
def test_missing_credentials_are_said(
    cluster: EmrParams, remote_root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boto3.session.Session, "get_credentials", lambda self: None)
    with pytest.raises(DataError, match="no AWS credentials"):
        submission.submit(WORK, cluster, remote_root, REPOSITORY)


@pytest.mark.usefixtures("aws")
def test_what_is_complete_is_not_made_again(cluster: EmrParams, root: DataRoot) -> None:
    counts = tables.spec("ingest_counts")
    rows = pa.table({name: [] for name in counts.names}, schema=counts.arrow_schema())
    writing.write_slice(Target(root, counts, "pool", {"stage": "pool"}, Provenance("test")), rows)
    elsewhere = DataRoot(root.local, str(root.local.resolve() / "lake"))
    with pytest.raises(DarkHaloError, match=r"already complete: ingest_counts\.pool; remove"):
        submission.submit(WORK, cluster, elsewhere, REPOSITORY)


def test_bytes_that_changed_on_the_way_are_noticed(aws: boto3.session.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    s3 = aws.client("s3")
    assert submission._upload(s3, b"code", "s3a://staging/a/b") == hashlib.sha256(b"code").hexdigest()

    class Corrupting:
        def put_object(self, **request: Any) -> None:
            s3.put_object(**request | {"Body": b"other"})

        def get_object(self, **request: Any) -> Any:
            return s3.get_object(**request)

    with pytest.raises(DataError, match="does not contain what was uploaded"):
        submission._upload(Corrupting(), b"code", "s3://staging/a/b")


def test_the_wheel_carries_every_package(tmp_path: Path) -> None:
    import zipfile

    names = zipfile.ZipFile(submission._build_wheel(REPOSITORY, tmp_path)).namelist()
    assert {"lake/tables/scores.py", "etl/spark/session.py", "pipeline/cli.py"} <= set(names)
    with pytest.raises(DataError, match="could not be built"):
        submission._build_wheel(tmp_path / "nothing", tmp_path / "built")
