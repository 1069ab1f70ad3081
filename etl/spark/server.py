"""The project's own Spark Connect server: shared by the stages of a run, stopped when idle.

``python -m etl.spark.server <folder> [--thorough]`` is the supervisor. It owns the Java machine (which the kernel kills
with it), publishes the record, watches the clients' leases and ends when there has been none for a while.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from etl.spark import record, settings
from etl.spark.java import MODULE_OPTIONS, QUICK_START, THOROUGH, archive, classpath, java, spark_home
from etl.spark.record import Record
from lake import processes
from lake.errors import DataError, LakeError

log = logging.getLogger(__name__)

_START_SECONDS = 300.0
_STOP_SECONDS = 120.0
_KEPT_UNUSED_SECONDS = 30 * 86_400.0
_POLL_SECONDS = 1.0
_LOG_LINES = 15
_MAIN = "org.apache.spark.sql.connect.service.SparkConnectServer"


_THOROUGH = "--thorough"


def address(folder: Path, thorough: bool = False) -> str:
    """Connection string of the server of ``folder``, which is started if none runs; this process then holds a lease.

    A server that is started for many rows is ``thorough``: its Java compiles better, and later.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with record.locked(folder / record.START_LOCK):
        found = record.living(folder)
        if found is not None and found.code != record.code_state() and record.clients(folder) == 0:
            log.info("the Spark server runs older code: starting a new one")
            stop(folder)
            found = None
        found = found or _start(folder, thorough)
        require_awake(folder, found)
        record.take_lease(folder)
    return found.remote


def require_awake(folder: Path, found: Record) -> None:
    """Refuse a server that is suspended: it accepts calls and never replies."""
    if (asleep := processes.stopped(found.pid)) is not None:
        raise LakeError(
            f"the Spark server of {folder} is suspended: resume it (`kill -CONT {asleep}`), or stop it with "
            "`dhs server stop` and run the command again"
        )


def stop(folder: Path) -> bool:
    """End the server of ``folder``, and return once its process has ended; returns whether one ran."""
    if (found := record.living(folder)) is None:
        return False
    os.kill(found.pid, signal.SIGTERM)
    while (asleep := processes.stopped(found.pid)) is not None:
        os.kill(asleep, signal.SIGCONT)
    deadline = time.monotonic() + _STOP_SECONDS
    while processes.is_alive(found.pid, found.started):
        if time.monotonic() > deadline:
            raise LakeError(f"the Spark server (process {found.pid}) does not end: kill it (`kill -9 {found.pid}`)")
        time.sleep(0.1)
    return True


def _start(folder: Path, thorough: bool) -> Record:
    java()
    log.info("starting a Spark server, recorded in %s", folder / record.RECORD)
    supervisor = _spawn_supervisor(folder, thorough)
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if (found := record.living(folder)) is not None:
            return found
        if os.waitpid(supervisor, os.WNOHANG) != (0, 0):
            end = "\n".join((folder / record.LOG).read_text(errors="replace").splitlines()[-_LOG_LINES:])
            raise LakeError(f"the Spark server did not start; {folder / record.LOG} ends:\n{end}")
        time.sleep(0.1)
    os.kill(supervisor, signal.SIGTERM)
    raise LakeError(f"the Spark server did not start within {_START_SECONDS:.0f} s; see {folder / record.LOG}")


def _spawn_supervisor(folder: Path, thorough: bool) -> int:
    """Start the supervisor in a session of its own, in which it outlives this process; returns its pid."""
    source = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(p for p in (source, os.environ.get("PYTHONPATH")) if p)
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", "etl.spark.server", str(folder), *([_THOROUGH] if thorough else [])],
        {**os.environ, "PYTHONPATH": path},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(folder / record.LOG), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def supervise(folder: Path, thorough: bool) -> None:
    """Run a server until it is idle, told to end, or its Java machine dies."""
    lock = _await_turn(folder)
    if lock is None:
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    scratch = folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    port, token = _free_port(), secrets.token_urlsafe(24)
    classes = archive(java()[1], classpath())
    draft = None if classes.exists() else classes.with_name(f".{classes.name}.{os.getpid()}")
    machine = _launch(folder, port, token, classes if draft is None else draft, THOROUGH if thorough else QUICK_START)
    try:
        _await_port(machine, port)
        me = os.getpid()
        record.write(folder, Record(me, processes.identity(me), port, token, record.code_state()))
        _watch(folder, machine)
    finally:
        (folder / record.RECORD).unlink(missing_ok=True)
        os.close(lock)
        _finish(machine, draft, classes)


def _await_turn(folder: Path) -> int | None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if (lock := record.try_lock(folder / record.SERVER_LOCK)) is not None:
            return lock
        if record.living(folder) is not None:
            return None
        time.sleep(0.1)
    raise LakeError(
        f"another process holds {folder / record.SERVER_LOCK} to start a Spark server, and has not: end it and run the "
        "command again"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _launch(folder: Path, port: int, token: str, classes: Path, compilers: Sequence[str]) -> subprocess.Popen[bytes]:
    options = {
        **settings.local(folder),
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
    }
    if classes.exists():
        classes.touch()
        sharing = f"-XX:SharedArchiveFile={classes}"
    else:
        classes.parent.mkdir(parents=True, exist_ok=True)
        sharing = f"-XX:ArchiveClassesAtExit={classes}"
    defined = (f"-D{name}={value}" for name, value in options.items())
    machine = (*MODULE_OPTIONS, *compilers, sharing, "-Xshare:auto", "-Xlog:disable", f"-Xmx{settings.memory()}")
    jars = os.pathsep.join(str(jar) for jar in classpath())
    environment = {
        **os.environ,
        **settings.SINGLE_THREADED,
        "SPARK_HOME": str(spark_home()),
        "SPARK_CONNECT_AUTHENTICATE_TOKEN": token,
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    environment.pop("SPARK_REMOTE", None)
    command = [str(java()[0]), *machine, *defined, "-cp", jars, _MAIN]
    return subprocess.Popen(command, cwd=folder, env=environment, preexec_fn=_die_with_parent)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _await_port(machine: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not record.answers(port):
        if machine.poll() is not None:
            raise LakeError(f"Java ended with status {machine.returncode}")
        if time.monotonic() > deadline:
            raise LakeError(f"Spark does not listen after {_START_SECONDS:.0f} s")
        time.sleep(0.05)


def _watch(folder: Path, machine: subprocess.Popen[bytes]) -> None:
    last_used = time.monotonic()
    while machine.poll() is None:
        time.sleep(_POLL_SECONDS)
        lock = record.try_lock(folder / record.START_LOCK)
        if lock is None or record.clients(folder):
            last_used = time.monotonic()
        elif time.monotonic() - last_used > settings.idle_seconds():
            (folder / record.RECORD).unlink(missing_ok=True)
            os.close(lock)
            return
        if lock is not None:
            os.close(lock)


def _finish(machine: subprocess.Popen[bytes], draft: Path | None, classes: Path) -> None:
    machine.terminate()
    try:
        machine.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        machine.kill()
        machine.wait()
    if draft is None or not draft.exists():
        return
    if machine.returncode in (0, 128 + signal.SIGTERM):
        draft.replace(classes)
        _forget_unused(classes.parent)
    else:
        draft.unlink()


def _forget_unused(folder: Path) -> None:
    """Remove archives (200 MB each) that no server of this machine has used for a month: of environments that are gone,
    and what killed servers left."""
    for one in (*folder.glob("*.jsa"), *folder.glob(".*.jsa.*")):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - one.stat().st_mtime > _KEPT_UNUSED_SECONDS:
                one.unlink()


if __name__ == "__main__":
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # files and locks of the process that started this one
    try:
        supervise(Path(sys.argv[1]), _THOROUGH in sys.argv)
    except (LakeError, DataError) as failure:
        sys.exit(str(failure))
