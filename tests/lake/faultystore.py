"""A simulated S3 with faults on demand: moto's server behind a layer that refuses, breaks off or redirects requests.

``python -m tests.lake.faultystore PORT``. A fault is a JSON object put at ``/-/fault``: ``kind`` (``status``, ``drop``,
``stall`` before a request is met, ``late`` after it, ``region``), ``method``, ``match`` (part of the path), ``times``,
and ``code`` and ``name``, ``after`` (bytes), ``seconds`` or ``region``. ``/-/seen`` lists the requests so far; DELETE
of ``/-/fault`` removes all faults, DELETE of ``/-/everything`` also what is stored and listed. The server ends when its
standard input does, as it does when the program that started it is killed.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from threading import Lock, Thread
from typing import Any

from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, run_simple

Environ = dict[str, Any]
Start = Callable[..., Any]
_ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"


class Faulty:
    """The application: faults first, then moto."""

    def __init__(self) -> None:
        self._inner = DomainDispatcherApplication(create_backend_app)
        self._faults: list[dict[str, Any]] = []
        self._seen: list[str] = []
        self._emptied = 0
        self._lock = Lock()

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path.startswith("/-/"):
            return self._told(path, method, environ, start)
        with self._lock:
            emptied = self._emptied
            self._seen.append(f"{method} {path}?{environ['QUERY_STRING']}")
            fault = next((each for each in self._faults if _meets(each, method, path, environ)), None)
            if fault:
                fault["times"] -= 1
        if fault is None:
            return self._inner(environ, self._located(start))
        if fault["kind"] == "stall":
            time.sleep(fault["seconds"])
            return self._inner(environ, start) if emptied == self._emptied else _refused({}, method, start)
        if fault["kind"] == "late":
            answer = list(self._inner(environ, start))
            time.sleep(fault["seconds"])
            return answer
        if fault["kind"] == "drop":
            return _broken(self._inner(environ, start), fault["after"])
        _drain(environ)
        return _refused(fault, method, start)

    def _located(self, start: Start) -> Start:
        """Answers that name the region in which the buckets are said to lie."""
        region = next((each["region"] for each in self._faults if each["kind"] == "region"), None)

        def started(status: str, headers: list[tuple[str, str]], *rest: object) -> object:
            kept = [each for each in headers if each[0].lower() != "x-amz-bucket-region"]
            return start(status, [*kept, ("x-amz-bucket-region", region)], *rest)

        return started if region else start

    def _told(self, path: str, method: str, environ: Environ, start: Start) -> Iterable[bytes]:
        with self._lock:
            if path == "/-/seen":
                answer = json.dumps(self._seen).encode()
            elif method == "DELETE":
                self._faults.clear()
                answer = b"{}"
                if path == "/-/everything":
                    self._empty()
            else:
                given = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
                self._faults.append({"method": "", "match": "", "times": 1, **given})
                answer = b"{}"
        start("200 OK", [("Content-Length", str(len(answer)))])
        return [answer]

    def _empty(self) -> None:
        self._seen.clear()
        self._emptied += 1
        for backends in s3_backends.values():
            for backend in backends.values():
                backend.reset()


def _meets(fault: dict[str, Any], method: str, path: str, environ: Environ) -> bool:
    if not fault["times"] or fault["match"] not in path or (fault["method"] and fault["method"] != method):
        return False
    if fault["kind"] != "region":
        return True
    scope = re.search(r"Credential=[^/]+/\d+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    return scope is not None and scope[1] != fault["region"]


def _refused(fault: dict[str, Any], method: str, start: Start) -> Iterable[bytes]:
    code, name, headers = fault.get("code", 301), fault.get("name", "PermanentRedirect"), []
    if fault["kind"] == "region":
        headers = [("x-amz-bucket-region", fault["region"])]
    body = b"" if method == "HEAD" else _ERROR.format(code=name).encode()
    start(f"{code} {name}", [*headers, ("Content-Length", str(len(body))), ("Content-Type", "application/xml")])
    return [body]


def _broken(whole: Iterable[bytes], after: int) -> Iterator[bytes]:
    """The first bytes of an answer; then the connection is closed."""
    content = b"".join(whole)
    yield content[:after]
    raise ConnectionAbortedError


def _drain(environ: Environ) -> None:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *args: object) -> None:
        pass


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    Thread(target=_end_with_input, daemon=True).start()
    run_simple("127.0.0.1", int(sys.argv[1]), Faulty(), threaded=True, request_handler=_Quiet)
