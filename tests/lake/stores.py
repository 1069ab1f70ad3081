"""A simulated object store in a process of its own: delta-rs holds the interpreter while it waits."""

from __future__ import annotations

import atexit
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

NAME = "lake-of-tests"


_uses = itertools.count()


@cache
def _server() -> int:
    """The port of the process's one server, which takes a second to start; it ends with the process."""
    pytest.importorskip("moto.server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    log = Path(tempfile.mkstemp(prefix="store", suffix=".log")[1])
    command = [sys.executable, "-m", "tests.lake.faultystore", str(port)]
    with log.open("w") as output:
        server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, cwd=Path(__file__).parents[2]
        )
    atexit.register(_stop, server, log)
    deadline = time.monotonic() + 60
    while not _answers(port):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return port


def _stop(server: subprocess.Popen[bytes], log: Path) -> None:
    server.kill()
    server.communicate()
    log.unlink()


@contextmanager
def bucket(monkeypatch: pytest.MonkeyPatch, region: str = "us-east-1") -> Iterator[str]:
    """The address of a new bucket, the only one; the environment names the server, which :func:`fault` makes fail."""
    boto3 = pytest.importorskip("boto3")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{_server()}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": f"testing-secret-{next(_uses)}",  # clients that the code keeps are of one bucket
        "AWS_DEFAULT_REGION": region,
    }.items():
        monkeypatch.setenv(name, value)
    _ask("DELETE", "everything")
    place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    boto3.client("s3").create_bucket(Bucket=NAME, **place)
    yield f"s3://{NAME}"


def fault(kind: str, **facts: object) -> None:
    """Make the store fail (see :mod:`tests.lake.faultystore`)."""
    _ask("PUT", "fault", json.dumps({"kind": kind, **facts}).encode())


def heal() -> None:
    """Remove all faults."""
    _ask("DELETE", "fault")


def seen(text: str = "") -> list[str]:
    """The requests so far that contain a text: method, path and query."""
    return [each for each in json.loads(_ask("GET", "seen")) if text in each]


def _ask(method: str, what: str, content: bytes | None = None) -> bytes:
    asked = urllib.request.Request(f"{os.environ['AWS_ENDPOINT_URL']}/-/{what}", data=content, method=method)
    with urllib.request.urlopen(asked) as answer:
        return bytes(answer.read())


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
