"""The server's life: shared, replaced when killed, freed of killed clients' work, gone when idle."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.spark import java, record, server, session
from etl.spark.record import Record
from etl.spark.session import _folder, session_id
from lake import processes
from lake.errors import DataError, LakeError, ParameterError
from lake.root import DataRoot, private_folder

_CLIENT = """
import sys, time
from lake.root import DataRoot, private_folder
from etl.spark.session import session
spark = session(DataRoot.of(sys.argv[1]), "near", sys.argv[2])
"""
_COUNT = _CLIENT + "print(spark.range(7).count(), flush=True)\n"
_READ = (
    _CLIENT
    + """
rows = spark.read.parquet(sys.argv[3])
rows.createOrReplaceTempView("numbers")
print([row.x for row in rows.collect()], spark.sql("select max(x) from numbers").collect()[0][0], flush=True)
"""
)
_SLOW = (
    _CLIENT
    + """
def sleepy(batches):
    for batch in batches:
        time.sleep(2)
        yield batch
print("connected", flush=True)
rows = spark.range(40).repartition(20).mapInArrow(sleepy, "id long")
rows.write.format("delta").save(sys.argv[3])
print("written", flush=True)
"""
)
_SUSPENDED = (
    """
import etl.spark.connect, etl.spark.session
etl.spark.connect._POLL_SECONDS = 0.1
"""
    + _CLIENT
    + """
def endless(batches):
    time.sleep(600)
    yield from batches
print("connected", flush=True)
try:
    spark.range(1).mapInArrow(endless, "id long").collect()
except Exception as error:
    etl.spark.session.explain(DataRoot.of(sys.argv[1]), error)
"""
)
_HOLDER = """
import sys
from pathlib import Path
from etl.spark import record
record.take_lease(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""
REPOSITORY = Path(__file__).resolve().parents[2]


DEAD_PROXY = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY"), "http://127.0.0.1:9")


def start(
    script: str, *arguments: object, idle_seconds: float = 600, stderr: bool = False, **more: str
) -> subprocess.Popen[str]:
    environment = {**os.environ, "DHS_SPARK_IDLE_SECONDS": str(idle_seconds), "DHS_SPARK_MEMORY": "1g", **more}
    environment["PYTHONPATH"] = str(REPOSITORY)
    environment.pop("SPARK_REMOTE", None)
    command = [sys.executable, "-c", script, *map(str, arguments)]
    told = subprocess.PIPE if stderr else None
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=told, text=True, cwd=REPOSITORY)


def count(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    return output.strip()


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def data(whole_stage: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataRoot]:
    made = DataRoot.of(tmp_path_factory.mktemp("served") / "data")
    yield made
    server.stop(made.spark)


@pytest.mark.usefixtures("whole_stage")
def test_an_idle_server_ends(tmp_path: Path) -> None:
    """The first test here: a server that ends by itself leaves the archive of classes that lets others start fast."""
    data = DataRoot.of(tmp_path / "data")
    assert count(start(_COUNT, data.local, "one", idle_seconds=1)) == "7"
    wait_until(lambda: not (data.spark / record.RECORD).exists())


def test_archives_that_no_server_used_for_a_month_are_removed(tmp_path: Path) -> None:
    kept, gone = ["used.jsa", ".used.jsa.12", "notes.txt"], ["unused.jsa", ".unused.jsa.34"]
    for name in (*kept, *gone):
        (tmp_path / name).touch()
    for name in (*gone, "notes.txt"):
        os.utime(tmp_path / name, (0, time.time() - 31 * 86_400))
    server._forget_unused(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(kept)


def test_an_archive_that_a_server_starts_from_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though no other server has used it for a month."""
    classes, started = tmp_path / "used.jsa", []
    classes.touch()
    os.utime(classes, (0, 0))
    monkeypatch.setattr(server, "java", lambda: (Path("java"), "17"))
    monkeypatch.setattr(server, "classpath", list)
    monkeypatch.setattr(server.subprocess, "Popen", lambda command, **more: started.append(command))
    server._launch(tmp_path, 1, "token", classes, ())
    server._forget_unused(tmp_path)
    assert classes.exists()
    assert f"-XX:SharedArchiveFile={classes}" in started[0]


_LINGERING = """
import os, signal, socket, sys, time
from pathlib import Path
from etl.spark import record
from lake import processes
folder, told = Path(sys.argv[1]), []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
with socket.socket() as port:
    port.bind(("127.0.0.1", 0))
    port.listen()
    me = os.getpid()
    record.write(folder, record.Record(me, processes.identity(me), port.getsockname()[1], "token", "code"))
    print("up", flush=True)
    while not told:
        time.sleep(0.01)
(folder / record.RECORD).unlink()
time.sleep(0.3)
(folder / "archived").touch()
"""


@pytest.mark.usefixtures("whole_stage")
def test_a_stopped_server_has_archived_its_classes(tmp_path: Path) -> None:
    """It takes back its record first: who starts the next one at once would find no archive."""
    with start(_LINGERING, tmp_path) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == "up\n"
        assert server.stop(tmp_path)
        assert (tmp_path / "archived").exists()
    assert not server.stop(tmp_path)


def test_simultaneous_clients_share_one_server_which_is_replaced_when_killed(data: DataRoot) -> None:
    clients = [start(_COUNT, data.local, "one"), start(_COUNT, data.local, "two", **DEAD_PROXY)]
    assert [count(client) for client in clients] == ["7", "7"]
    first = record.living(data.spark)
    assert first is not None
    assert (data.spark / record.RECORD).stat().st_mode & 0o777 == 0o600
    machines = psutil.Process(first.pid).children(recursive=True)
    assert sum(process.name() == "java" for process in machines) == 1

    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: not any(process.is_running() and process.name() == "java" for process in machines))
    assert record.living(data.spark) is None
    assert count(start(_COUNT, data.local, "one")) == "7"
    second = record.living(data.spark)
    assert second is not None
    assert second.pid != first.pid


def test_what_a_killed_client_left_running_is_stopped_by_the_next(data: DataRoot, tmp_path: Path) -> None:
    target = tmp_path / "table"
    victim = start(_SLOW, data.local, "one", target)
    assert victim.stdout is not None
    assert victim.stdout.readline().strip() == "connected"
    wait_until(lambda: any(target.rglob("*.parquet")) or target.exists())
    victim.kill()
    victim.communicate()
    assert count(start(_COUNT, data.local, "one")) == "7"
    known = list(target.rglob("*.parquet"))
    time.sleep(6)
    assert list(target.rglob("*.parquet")) == known
    assert not list((target / "_delta_log").glob("*.json"))


def test_a_client_run_again_reads_anew(data: DataRoot, tmp_path: Path) -> None:
    for x in (1, 2):
        (tmp_path / "table").mkdir()
        pq.write_table(pa.table({"x": [x]}), tmp_path / "table" / f"{x}.parquet")
        assert count(start(_READ, data.local, "one", tmp_path / "table")) == f"[{x}] {x}"
        shutil.rmtree(tmp_path / "table")


def test_a_suspended_server_is_named_and_not_waited_for(data: DataRoot) -> None:
    client = start(_SUSPENDED, data.local, "one", stderr=True)
    assert client.stdout is not None
    assert client.stdout.readline().strip() == "connected"
    found = record.living(data.spark)
    assert found is not None
    machine = psutil.Process(found.pid).children()[0]
    machine.suspend()
    try:
        _, told = client.communicate(timeout=60)
        assert f"is suspended: resume it (`kill -CONT {machine.pid}`)" in told.splitlines()[-1]
        with pytest.raises(LakeError, match="is suspended"):
            server.address(data.spark)
    finally:
        machine.resume()
    assert count(start(_COUNT, data.local, "one")) == "7"


def fake_java(folder: Path, script: str) -> Path:
    """A JAVA_HOME whose ``java`` is a shell script."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return folder


def test_a_server_holds_no_file_of_the_process_that_started_it(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "java", "[ $1 = -version ] && echo 'version \"17' >&2 || exec sleep 600")
    command = [sys.executable, "-P", "-m", "etl.spark.server", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "JAVA_HOME": str(home)}
    with (
        (tmp_path / "mine").open("w") as mine,
        subprocess.Popen(command, env=environment, pass_fds=[mine.fileno()]) as supervisor,
    ):
        try:
            wait_until(lambda: bool(psutil.Process(supervisor.pid).children()))
            held = [entry.path for entry in psutil.Process(supervisor.pid).open_files()]
            assert str(tmp_path / record.SERVER_LOCK) in held
            assert str(tmp_path / "mine") not in held
        finally:
            supervisor.kill()


def test_tables_on_s3_need_their_library(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"cannot reach s3://bucket/lake: put hadoop-aws-3.4.1.jar .* or run the stage on EMR"
    ):
        session._require_s3a(DataRoot.of(tmp_path, "s3a://bucket/lake"))
    session._require_s3a(DataRoot.of(tmp_path))


def test_a_java_that_lacks_memory_is_not_called_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "echo 'Error occurred during initialization of VM' >&2; echo 'Too little' >&2; exit 1"
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path, told)))
    with pytest.raises(DataError, match=r"cannot start \(Error .* Too little\): .*`ulimit -v`"):
        java.java()


def test_a_record_of_a_dead_or_other_process_is_stale(tmp_path: Path) -> None:
    me = os.getpid()
    port = server._free_port()
    for pid, started in ((2**22 + 1, "0"), (me, "boot:12345"), (me, processes.identity(me))):
        record.write(tmp_path, Record(pid, started, port, "secret", "code"))
        assert record.living(tmp_path) is None
    (tmp_path / record.RECORD).write_text("{")
    assert record.living(tmp_path) is None


def test_a_lease_lives_as_long_as_its_process(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", _HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert record.clients(tmp_path) == 1
        holder.kill()
    assert record.clients(tmp_path) == 0


def test_data_that_can_only_be_read_has_its_server_elsewhere(data: DataRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etl.spark.session.os.access", lambda path, mode: False)
    assert _folder(data) == private_folder() / "spark" / session_id(data, "server", None)
    monkeypatch.undo()
    assert _folder(data) == data.spark


def test_a_session_is_known_by_root_stage_and_slice(tmp_path: Path) -> None:
    one = session_id(DataRoot.of(tmp_path), "pool", None)
    assert one == session_id(DataRoot.of(tmp_path / "x" / ".."), "pool", None)
    others = {session_id(DataRoot.of(tmp_path), *facts) for facts in (("pool", "a"), ("near", None))}
    assert one not in others
    assert len(others) == 2


def test_missing_or_wrong_java_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"Java 17 is needed .*JAVA_HOME"):
        java.java()
    fake = tmp_path / "bin" / "java"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    fake.chmod(0o755)
    with pytest.raises(DataError, match=r"Java 17 is needed .*is 11"):
        java.java()


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DHS_SPARK_MEMORY", "no memory")
    with pytest.raises(LakeError, match=r"(?s)did not start.*server\.log ends:.*-Xmxno memory"):
        server.address(tmp_path)


def test_jars_are_checked_and_their_absence_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DHS_JARS", str(tmp_path))
    with pytest.raises(DataError, match=r"delta-spark_2.13-4.0.1.jar is missing: .*DHS_JARS"):
        java.delta_jars()
    for name in java.JARS:
        (tmp_path / name).write_bytes(b"not the jar")
    with pytest.raises(DataError, match=r"delta-spark_2.13-4.0.1.jar has sha256 .* expected .*not used"):
        java.delta_jars()


@pytest.mark.usefixtures("whole_stage")
def test_jars_that_cannot_be_fetched_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DHS_CACHE", str(tmp_path))
    monkeypatch.delenv("DHS_JARS", raising=False)
    dead = "-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9 -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=9"
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", f"{dead} -Duser.home={tmp_path}")
    with pytest.raises(DataError, match=r"Spark could not fetch it .*DHS_JARS"):
        java.delta_jars()


@pytest.mark.slow
def test_jars_are_fetched_by_sparks_own_resolver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DHS_CACHE", str(tmp_path))
    monkeypatch.delenv("DHS_JARS", raising=False)
    assert [jar.name for jar in java.delta_jars()] == list(java.JARS)
    assert not (tmp_path / "jars" / "resolver").exists()


def test_a_full_disk_of_a_task_is_said_with_all_places_that_tasks_write_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPARK_REMOTE", raising=False)
    message = rf"the disk of {tmp_path}/spark, {tmp_path}/work or the tables is full: make room and run the stage again"
    with pytest.raises(LakeError, match=message):
        session.explain(DataRoot.of(tmp_path), OSError("[Errno 28] No space left on device"))


def test_settings_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    from etl.spark import settings

    monkeypatch.setenv("DHS_SPARK_CORES", "many")
    with pytest.raises(ParameterError, match="'DHS_SPARK_CORES' must be a whole number above 0, got 'many'"):
        settings.cores()
