"""A web server on this machine, which answers rightly or in any of the ways that servers fail: cut-outs, and files."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from astropy.io import fits

from lake.sky.survey import PIXEL_SCALE_ARCSEC

Answer = Callable[["Handler", dict[str, str], int], None]


def sky(query: dict[str, str], bands: str = "grz") -> np.ndarray:
    """Pixels (band, y, x) at a position: they depend on it and on nothing else."""
    size = int(query["size"])
    rng = np.random.default_rng([round(float(query["ra"]) * 1e6), round((float(query["dec"]) + 90) * 1e6)])
    return rng.normal(0.1, 1.0, (len(bands), size, size)).astype(np.float32)


def cube(query: dict[str, str], planes: np.ndarray | None = None, **cards: Any) -> bytes:
    """What the viewer answers: a cube with its position in the middle."""
    planes = sky(query) if planes is None else planes
    middle = (planes.shape[-1] + 1) / 2
    hdu = fits.PrimaryHDU(planes)
    scale = PIXEL_SCALE_ARCSEC / 3600
    hdu.header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": middle, "CRPIX2": middle})
    hdu.header.update({"CRVAL1": float(query["ra"]), "CRVAL2": float(query["dec"])})
    hdu.header.update({"CD1_1": -scale, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": scale, "BANDS": "grz", **cards})
    file = io.BytesIO()
    hdu.writeto(file)
    return file.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Answers as its server's function says."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        place = query.get("ra", self.path)
        with self.server.lock:
            self.server.asked[place] += 1
            self.server.agents.add(self.headers["User-Agent"])
            count = self.server.asked[place]
        self.server.answer(self, query, count)

    do_HEAD = do_GET  # noqa: N815

    def give(self, content: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


class Server(ThreadingHTTPServer):
    """The server and what it saw: requests per position or path, names of clients."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.lock = answer, threading.Lock()
        self.asked: Counter[str] = Counter()
        self.agents: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is none of a test's business."""


@contextmanager
def serving(answer: Answer) -> Iterator[Server]:
    server = Server(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
