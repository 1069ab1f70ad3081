"""Submission to EMR, against a simulated AWS."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.loaders
import botocore.session
import pyarrow as pa
import pytest
import yaml
from botocore.awsrequest import AWSResponse

from etl.emr import aws as calls
from etl.emr import packages, scripts, shipping, submission
from etl.emr.cluster import EmrParams
from etl.emr.packages import Node
from etl.emr.shipping import Submission
from lake import tables
from lake.errors import DarkHaloError, DataError, ParameterError
from lake.root import DataRoot
from lake.store import writing
from lake.store.writing import Provenance, Target

REPOSITORY = Path(__file__).resolve().parents[2]
REGION = "us-east-2"
CARD = "data/cards/ingest_counts.pool.json"
WORK = Submission(("run", "pool"), "survey: {}\n", ("ingest_counts.pool",), (CARD,), ("s3://survey/dr10",))


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
    from moto import mock_aws  # takes a second: by the process that needs it, not by all that collect

    with mock_aws():
        session = boto3.session.Session(region_name=REGION)
        session.client("s3").create_bucket(Bucket="staging", CreateBucketConfiguration={"LocationConstraint": REGION})
        yield session


def simulated(job: str) -> Any:
    """A cluster as the simulated AWS holds it."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.emr.models import emr_backends

    return emr_backends[DEFAULT_ACCOUNT_ID][REGION].clusters[job]


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
    root = DataRoot.of(tmp_path / "project" / "data", "s3a://lake/tables")
    root.cards.mkdir(parents=True)
    (root.cards / "lens_candidates.json").write_text("{}")
    return root


@pytest.fixture
def source(remote_root: DataRoot) -> Path:
    """The project's folder."""
    return remote_root.local.parent


@pytest.fixture
def quick(whole_stage: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A wheel that is not built, packages that are not collected, and no waiting."""

    def wheel(source: Path, folder: Path) -> Path:
        made = folder / "darkhaloscope-0.1.0-py3-none-any.whl"
        made.write_bytes(b"wheel")
        return made

    def archive(names: list[str], lock: Path, node: Node) -> Path:
        made = tmp_path / "packages.tar.gz"
        made.write_text(f"{names} {lock.name} {node}")
        return made

    monkeypatch.setattr(shipping, "build_wheel", wheel)
    monkeypatch.setattr(packages, "archive", archive)
    monkeypatch.setattr(submission, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(submission, "_LOG_DELAY_SECONDS", 0.0)


def objects(aws: boto3.session.Session) -> dict[str, bytes]:
    s3 = aws.client("s3")
    listed = s3.list_objects_v2(Bucket="staging").get("Contents", [])
    return {e["Key"]: s3.get_object(Bucket="staging", Key=e["Key"])["Body"].read() for e in listed}


def ends(monkeypatch: pytest.MonkeyPatch, aws: boto3.session.Session, state: str, files: dict[str, bytes]) -> None:
    """Let the step end in ``state`` and leave ``files`` (keys below the staging folder)."""

    def answer(client: Any, job: str) -> tuple[str, str]:
        ending = "/project/main.py"
        for folder in (key.removesuffix(ending) for key in objects(aws) if key.endswith(ending)):
            for key, content in files.items():
                aws.client("s3").put_object(Bucket="staging", Key=f"{folder}/{key.format(job=job)}", Body=content)
        return state, "s-1"

    monkeypatch.setattr(submission, "_state", answer)


def results(made: dict[str, bytes]) -> dict[str, bytes]:
    """What a step leaves in the staging folder that made these files."""
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in made.items())
    return {"SUMS": sums.encode(), **{f"results/{name}": content for name, content in made.items()}}


@pytest.mark.usefixtures("quick")
def test_a_stage_is_shipped_run_and_what_it_made_brought_back(
    aws: boto3.session.Session, cluster: EmrParams, remote_root: DataRoot, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Path("data/cards/lens_candidates.json")
    work = replace(WORK, files=(card,), modules=("sklearn", "numpy", "pyspark"))
    ends(monkeypatch, aws, "COMPLETED", results({CARD: b'{"rows": 1}'}))
    assert submission.submit(work, cluster, remote_root, source) == [CARD]
    assert json.loads((source / CARD).read_text()) == {"rows": 1}

    stored = {key.split("/", 2)[2]: content for key, content in objects(aws).items()}
    assert stored["project/params.yaml"] == b"survey: {}\n"
    assert stored[f"project/{card}"] == b"{}"
    listed = "".join(
        f"{hashlib.sha256(stored[f'project/{name}']).hexdigest()}  {name}\n"
        for name in (str(card), "main.py", "params.yaml")
    )
    assert stored["project/SHA256SUMS"].decode() == listed
    assert hashlib.sha256(b"wheel").hexdigest().encode() in stored["code/bootstrap.sh"]
    assert hashlib.sha256(stored["project/SHA256SUMS"]).hexdigest().encode() in stored["code/step.sh"]
    assert b"main.py run pool" in stored["code/step.sh"]
    digest = next(name for name in stored if name.endswith(".tar.gz")).removesuffix(".tar.gz")
    assert digest.encode() in stored["code/bootstrap.sh"]
    shipped = "['click', 'numpy', 'pandas', 'pyyaml', 'scikit-learn']"
    assert stored[f"{digest}.tar.gz"].decode() == f"{shipped} requirements.lock {Node('3.11', 'x86_64')}"

    client = aws.client("emr")
    job = client.list_clusters()["Clusters"][0]["Id"]
    made = client.describe_cluster(ClusterId=job)["Cluster"]
    assert made["AutoTerminate"]
    assert made["Status"]["State"].startswith("TERMINAT")
    step = client.list_steps(ClusterId=job)["Steps"][0]
    assert step["ActionOnFailure"] == "TERMINATE_CLUSTER"
    assert hashlib.sha256(stored["code/step.sh"]).hexdigest() in step["Config"]["Args"][2]


@pytest.mark.usefixtures("quick")
def test_only_outputs_of_the_stage_are_brought_back_and_only_as_they_were_made(
    aws: boto3.session.Session, cluster: EmrParams, remote_root: DataRoot, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = "data/cutouts/shard-0.npy"
    other = (
        "../outside.json",
        "data/cards/other.json",
        f"{CARD}.bak",
        "data/cutouts/../../x",
        "data/cutouts/.hidden/..",
    )
    work = replace(WORK, outputs=(CARD, "data/cutouts"))
    ends(monkeypatch, aws, "COMPLETED", results(dict.fromkeys((CARD, shard, *other), b"{}")))
    before = set(source.parent.rglob("*.*"))
    assert submission.submit(work, cluster, remote_root, source) == [CARD, shard]
    made = {path for path in source.parent.rglob("*.*") if path.is_file()} - before
    assert made - {source.parent / "packages.tar.gz"} == {source / CARD, source / shard}
    ends(monkeypatch, aws, "COMPLETED", results({CARD: b"1"}) | {f"results/{CARD}": b"2"})
    with pytest.raises(DataError, match=r"ingest_counts\.pool\.json has changed since the cluster made it"):
        submission.submit(work, cluster, remote_root, source)


@pytest.mark.usefixtures("quick")
def test_a_folder_that_comes_back_replaces_the_one_that_was_there_or_leaves_it_whole(
    aws: boto3.session.Session, cluster: EmrParams, remote_root: DataRoot, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = replace(WORK, outputs=(CARD, "data/cutouts"))
    there, cached, left = source / "data/cutouts", source / "cached.npy", source / "data/.cutouts.fetched"
    there.mkdir()
    cached.write_bytes(b"an earlier run's stamps")
    (there / "bucket-0000.npy").hardlink_to(cached)
    left.mkdir()
    (left / "bucket-0001.npy").write_bytes(b"of a submission that was killed")
    made = {CARD: b"{}", "data/cutouts/shards.json": b'{"bucket-0000.npy": "s3://b/1.npy"}'}
    ends(monkeypatch, aws, "COMPLETED", results(made) | {"results/data/cutouts/shards.json": b"other bytes"})
    with pytest.raises(DataError, match=r"shards\.json has changed since the cluster made it"):
        submission.submit(work, cluster, remote_root, source)
    assert [path.name for path in there.iterdir()] == ["bucket-0000.npy"]
    assert not (source / CARD).exists()
    ends(monkeypatch, aws, "COMPLETED", results(made))
    submission.submit(work, cluster, remote_root, source)
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {
        "shards.json": made["data/cutouts/shards.json"]
    }
    assert cached.read_bytes() == b"an earlier run's stamps"
    assert not left.exists()


def test_fields_of_the_cluster_are_not_run_as_shell(cluster: EmrParams, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    hostile = f"x; touch {mark}; $(touch {mark})"
    bad = cluster.model_copy(update={"python": hostile, "region": hostile})
    files = {f"s3://b/{hostile}.gz": "0" * 64, f"s3://b/{hostile}.whl": "0" * 64}
    texts = scripts.bootstrap(bad, files) + scripts.step(bad, f"s3://b/{hostile}", [hostile], [hostile], "0" * 64)
    for line in texts.replace("\\\n", "").splitlines():
        if not line.startswith(("cd ", "folder=", "#!")):
            subprocess.run(["/bin/bash", "-c", line], env={"PATH": str(tmp_path)}, capture_output=True, check=False)
    step = scripts.job_flow("run pool", bad, f"s3://b/{hostile}", "0" * 64)["Steps"][0]
    subprocess.run(["/bin/bash", "-c", step["HadoopJarStep"]["Args"][2]], env={"PATH": "/bin:/usr/bin"}, check=False)
    assert not mark.exists()


@pytest.mark.usefixtures("quick")
def test_a_failed_step_shows_the_end_of_its_log(
    aws: boto3.session.Session, cluster: EmrParams, remote_root: DataRoot, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\n".join([*(f"line {i}" for i in range(100)), "DataError: sweep is truncated"])
    ends(monkeypatch, aws, "FAILED", {"logs/{job}/steps/s-1/stderr.gz": gzip.compress(text.encode())})
    with pytest.raises(
        DarkHaloError, match=r"(?s)run pool: FAILED on cluster .*line 99\nDataError: sweep is truncated"
    ):
        submission.submit(WORK, cluster, remote_root, source)
    ends(monkeypatch, aws, "FAILED", {})
    with pytest.raises(DarkHaloError, match="no log arrived"):
        submission.submit(replace(WORK, arguments=("run", "other")), cluster, remote_root, source)


@pytest.mark.usefixtures("quick")
def test_a_cluster_that_ends_before_its_step_does_is_a_failure(
    aws: boto3.session.Session, cluster: EmrParams, remote_root: DataRoot
) -> None:
    client = aws.client("emr")
    job = client.run_job_flow(**scripts.job_flow("run pool", cluster, "s3://staging/x", "0" * 64))
    client.terminate_job_flows(JobFlowIds=[job["JobFlowId"]])
    with pytest.raises(DarkHaloError, match="ended while its step ran: no reason given"):
        submission._state(client, job["JobFlowId"])
    held = simulated(job["JobFlowId"])
    held.steps[0].state, held.last_state_change_reason = "PENDING", "the bootstrap failed"
    with pytest.raises(DarkHaloError, match="ended before its step began: the bootstrap failed"):
        submission._state(client, job["JobFlowId"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"region": "us-easter-2"}, r"'region' must be one of .*us-east-2.* got 'us-easter-2'"),
        ({"subnet_id": "subnet-0"}, r"'subnet_id' must be a subnet of us-east-2, got 'subnet-0'"),
        ({"staging_uri": "s3://elsewhere/x"}, "'staging_uri' must be in a bucket you can reach"),
        ({"executor_memory_gb": 60}, r"must fit a r6i\.2xlarge \(48 of its 64 GiB\), got 72"),
        ({"core_type": "m9.huge"}, r"'core_type' must be an instance type of the region, got 'm9\.huge'"),
        ({"primary_type": "m6g.xlarge"}, r"'primary_type' must be of the processor of r6i\.2xlarge, got 'm6g\.xlarge'"),
        ({"executor_cores": 9}, r"'executor_cores' must be at most the 8 of a r6i\.2xlarge, got 9"),
    ],
)
def test_a_cluster_that_cannot_work_is_refused(
    cluster: EmrParams, remote_root: DataRoot, source: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        submission.submit(WORK, cluster.model_copy(update=change), remote_root, source)


def test_a_bucket_of_another_region_is_refused(
    aws: boto3.session.Session, cluster: EmrParams, remote_root: DataRoot, source: Path
) -> None:
    there = {"LocationConstraint": "eu-west-1"}
    aws.client("s3", region_name="eu-west-1").create_bucket(Bucket="far", CreateBucketConfiguration=there)
    wrong = cluster.model_copy(update={"staging_uri": "s3://far/dhs"})
    with pytest.raises(
        ParameterError, match=r"'staging_uri' must be in a bucket of us-east-2, this one is in eu-west-1"
    ):
        submission.submit(WORK, wrong, remote_root, source)


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch, aws: boto3.session.Session) -> Callable[[str, str, int], list[str]]:
    """``refusing("emr.RunJobFlow", code, times)`` lets AWS refuse an operation; answers a list of the refusals."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)

    def refuse(operation: str, code: str, times: int) -> list[str]:
        made: list[str] = []
        json_body = json.dumps({"__type": code, "message": "said AWS"})
        xml_body = f"<R><Errors><Error><Code>{code}</Code><Message>said AWS</Message></Error></Errors></R>"
        if operation.startswith("s3."):
            xml_body = f"<Error><Code>{code}</Code><Message>said AWS</Message></Error>"
        if operation.startswith("sts."):
            xml_body = f"<R><Error><Code>{code}</Code><Message>said AWS</Message></Error></R>"

        def answer(request: Any, **kwargs: Any) -> AWSResponse | None:
            if len(made) >= times:
                return None
            made.append(operation)
            body = (json_body if operation.startswith("emr.") else xml_body).encode()
            return AWSResponse(request.url, 400, {}, SimpleNamespace(stream=lambda **_: iter([body])))

        def session(region: str) -> boto3.session.Session:
            own = boto3.session.Session(region_name=region)
            own.events.register_first(f"before-send.{operation}", answer)
            return own

        monkeypatch.setattr(calls, "session", session)
        return made

    return refuse


ALWAYS = 1_000_000


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("operation", "code", "message"),
    [
        ("ec2.DescribeSubnets", "UnauthorizedOperation", r"AWS refuses \1: have that action allowed for your identity"),
        ("emr.RunJobFlow", "AccessDeniedException", r"AWS refuses \1: have that action allowed for your identity"),
        ("sts.GetCallerIdentity", "ExpiredToken", r"AWS refuses your credentials for \1: renew them"),
        ("ec2.DescribeInstanceTypes", "RequestLimitExceeded", r"AWS is too busy for \1: wait some minutes and run"),
        ("s3.PutObject", "AccessDenied", r"AWS refuses \1: have that action allowed for your identity"),
        ("s3.PutObject", "SlowDown", r"AWS is too busy for \1: wait some minutes and run"),
        ("emr.RunJobFlow", "ValidationException", r"AWS, RunJobFlow in us-east-2: said AWS \(ValidationException\)"),
    ],
)
def test_what_aws_refuses_is_said(
    refusing: Callable[[str, str, int], list[str]],
    cluster: EmrParams,
    remote_root: DataRoot,
    source: Path,
    operation: str,
    code: str,
    message: str,
) -> None:
    made = refusing(operation, code, ALWAYS)
    said = rf"{operation.split('.')[1]} in us-east-2 \(said AWS\)"
    with pytest.raises(DataError, match=message.replace(r"\1", said)):
        submission.submit(WORK, cluster, remote_root, source)
    assert len(made) == (9 if code in ("RequestLimitExceeded", "SlowDown") else 1)


def test_a_step_that_ends_while_it_is_asked_for_has_not_failed() -> None:
    class Ending:
        """A step that runs until its cluster has been asked for, and then ends, as the cluster does."""

        asked = 0

        def describe_cluster(self, **request: Any) -> Any:
            self.asked += 1
            return {"Cluster": {"Status": {"State": "RUNNING" if self.asked == 1 else "TERMINATED"}}}

        def list_steps(self, **request: Any) -> Any:
            return {"Steps": [{"Id": "s-1", "Status": {"State": "COMPLETED" if self.asked else "RUNNING"}}]}

    assert submission._state(Ending(), "j-1") == ("COMPLETED", "s-1")


@pytest.mark.usefixtures("quick")
def test_a_cluster_that_was_terminated_ends_the_submission_and_brings_nothing_back(
    aws: boto3.session.Session, cluster: EmrParams, remote_root: DataRoot, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = submission._state

    def state(client: Any, job: str) -> tuple[str, str]:
        held = simulated(job)
        held.state, held.steps[0].state = "TERMINATED_WITH_ERRORS", "PENDING"
        held.last_state_change_reason = "Instance i-1 was terminated: spot capacity"
        return asked(client, job)

    monkeypatch.setattr(submission, "_state", state)
    with pytest.raises(DarkHaloError, match="ended before its step began: Instance i-1 was terminated: spot capacity"):
        submission.submit(WORK, cluster, remote_root, source)
    assert not (source / CARD).exists()


@pytest.mark.usefixtures("quick")
def test_a_busy_service_does_not_end_the_wait(
    aws: boto3.session.Session,
    refusing: Callable[[str, str, int], list[str]],
    cluster: EmrParams,
    remote_root: DataRoot,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = refusing("emr.ListSteps", "ThrottlingException", 20)
    state = submission._state
    ends(monkeypatch, aws, "COMPLETED", results({CARD: b"{}"}))
    ended = submission._state
    monkeypatch.setattr(submission, "_state", lambda emr, job: (state(emr, job), ended(emr, job))[1])
    assert submission.submit(WORK, cluster, remote_root, source) == [CARD]
    assert len(made) == 20
    assert caplog.text.count("AWS is too busy for ListSteps in us-east-2 (said AWS)") == 2


@pytest.mark.usefixtures("quick")
def test_a_cluster_that_may_go_on_is_named(
    aws: boto3.session.Session,
    refusing: Callable[[str, str, int], list[str]],
    cluster: EmrParams,
    remote_root: DataRoot,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    refusing("emr.TerminateJobFlows", "AccessDeniedException", ALWAYS)
    ends(monkeypatch, aws, "COMPLETED", results({CARD: b"{}"}))
    submission.submit(WORK, cluster, remote_root, source)
    job = aws.client("emr").list_clusters()["Clusters"][0]["Id"]
    assert f"cluster {job} in us-east-2 may still run: end it" in caplog.text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("aws_secret_access_key = abc/def", "aws_secret_access_key = ***"),
        ('"fs.s3a.secret.key": "abc", "x": 1', '"fs.s3a.secret.key": "***", "x": 1'),
        ("X-Amz-Security-Token=IQoJ%2F&X-Amz-Date=1", "X-Amz-Security-Token=***&X-Amz-Date=1"),
        ("key AKIAIOSFODNN7EXAMPLE was used", "key *** was used"),
        ("it says s3cr3t twice: s3cr3t", "it says *** twice: ***"),
        ("37 rows of tractor_pool", "37 rows of tractor_pool"),
    ],
)
def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch, text: str, shown: str) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
    assert calls.redacted(text) == shown


@pytest.mark.usefixtures("aws")
def test_places_the_cluster_cannot_reach_are_refused(cluster: EmrParams, remote_root: DataRoot, source: Path) -> None:
    with pytest.raises(ParameterError, match=r"'survey\.lake_uri' must be an s3:// prefix"):
        submission.submit(WORK, cluster, DataRoot.of(remote_root.local), source)
    with pytest.raises(ParameterError, match=r"'input' must be on S3 .*got 'data/survey'"):
        submission.submit(replace(WORK, inputs=("data/survey",)), cluster, remote_root, source)


@pytest.mark.usefixtures("aws")
def test_missing_credentials_are_said(
    cluster: EmrParams, remote_root: DataRoot, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boto3.session.Session, "get_credentials", lambda self: None)
    with pytest.raises(DataError, match="no AWS credentials"):
        submission.submit(WORK, cluster, remote_root, source)


@pytest.mark.usefixtures("aws")
def test_what_is_complete_is_not_made_again(cluster: EmrParams, root: DataRoot) -> None:
    counts = tables.spec("ingest_counts")
    rows = pa.table({name: [] for name in counts.names}, schema=counts.arrow_schema())
    writing.write_slice(Target(root, counts, "pool", {"stage": "pool"}, Provenance("test")), rows)
    elsewhere = DataRoot(root.local, str(root.local.resolve() / "lake"))
    with pytest.raises(DarkHaloError, match=r"already complete: ingest_counts\.pool; remove"):
        submission.submit(WORK, cluster, elsewhere, root.local)


def test_bytes_that_changed_on_the_way_are_noticed(aws: boto3.session.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    s3 = aws.client("s3")
    assert calls.upload(s3, b"code", "s3a://staging/a/b") == hashlib.sha256(b"code").hexdigest()

    class Corrupting:
        def put_object(self, **request: Any) -> None:
            s3.put_object(**request | {"Body": b"other"})

        def get_object(self, **request: Any) -> Any:
            return s3.get_object(**request)

    with pytest.raises(DataError, match="does not contain what was uploaded"):
        calls.upload(Corrupting(), b"code", "s3://staging/a/b")


@pytest.mark.usefixtures("whole_stage")
def test_the_wheel_carries_every_package(tmp_path: Path) -> None:
    import zipfile

    names = zipfile.ZipFile(shipping.build_wheel(REPOSITORY, tmp_path)).namelist()
    assert {"lake/tables/scores.py", "etl/spark/session.py", "pipeline/cli.py"} <= set(names)
    with pytest.raises(DataError, match="could not be built"):
        shipping.build_wheel(tmp_path / "nothing", tmp_path / "built")
