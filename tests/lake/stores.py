"""A simulated object store in a process of its own: delta-rs holds the interpreter while it waits."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NAME = "lake-of-tests"


@contextmanager
def bucket(monkeypatch: pytest.MonkeyPatch, folder: Path, region: str = "us-east-1") -> Iterator[str]:
    """The address of a new bucket; the environment names the server, which :func:`fault` makes fail."""
    boto3, _ = pytest.importorskip("boto3"), pytest.importorskip("moto.server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing-secret",
        "AWS_DEFAULT_REGION": region,
    }.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "tests.lake.faultystore", str(port)]
    with (folder / "store.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=Path(__file__).parents[2])
    try:
        deadline = time.monotonic() + 60
        while not _answers(port):
            assert time.monotonic() < deadline, (folder / "store.log").read_text()
            time.sleep(0.1)
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        boto3.client("s3").create_bucket(Bucket=NAME, **place)
        yield f"s3://{NAME}"
    finally:
        server.kill()
        server.wait()


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
