"""Requests to somebody else's server: signed, few at a time, at a limited rate, repeated with growing pauses."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import TypeVar

import aiohttp

from etl.config import WebParams
from lake.errors import DataError, one_line
from lake.provenance import pipeline_version

log = logging.getLogger(__name__)

T = TypeVar("T")
Take = Callable[[aiohttp.ClientResponse], Awaitable[T]]

_AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Statuses after which the same request may succeed."""
_NO_SUCH_RANGE = 416
"""What only those who asked for a range understand."""
_LONGEST_PAUSE_S = 300.0
_PART = 1 << 16


class UnansweredError(DataError):
    """A request that failed: after all attempts, or in a way that no repeat can mend."""


class FaultyError(DataError):
    """An answer that is not what was requested."""


class Polite:
    """A session with a server, as a context.

    ``as_stored``: answers are files, whose bytes are those that the server holds: it may call a .gz file content that
    is encoded by gzip.
    """

    def __init__(self, params: WebParams, as_stored: bool = False) -> None:
        self._params, self._as_stored = params, as_stored
        self._free = asyncio.Semaphore(params.connections)
        self._next = 0.0

    async def __aenter__(self) -> Polite:
        silent = self._params.timeout_s
        plain = {"Accept-Encoding": "identity"} if self._as_stored else {}
        self._session = aiohttp.ClientSession(
            headers={"User-Agent": agent(self._params.contact), **plain},
            auto_decompress=not self._as_stored,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=silent, sock_read=silent),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ask(
        self,
        url: str,
        take: Take[T],
        query: Mapping[str, str] | None = None,
        headers: Callable[[], Mapping[str, str]] = dict,
        limit_s: float | None = None,
        method: str = "GET",
    ) -> T:
        """What ``take`` makes of the answer; UnansweredError if no attempt succeeds.

        An attempt fails if the connection does, after ``limit_s`` (None: only if nothing arrives for
        ``timeout_s``), or if ``take`` raises FaultyError. ``headers`` are made anew for each attempt.
        """
        last = ""
        for attempt in range(self._params.attempts):
            if attempt:
                await asyncio.sleep(self._pause(attempt))
            try:
                async with self._free, asyncio.timeout(limit_s):
                    await self._turn()
                    async with self._session.request(method, url, params=query, headers=headers()) as answer:
                        self._require_right(answer)
                        return await take(answer)
            except (FaultyError, aiohttp.ClientError, OSError, TimeoutError) as error:
                last = self._why(error, limit_s)
                log.debug("%s: attempt %d: %s", url, attempt + 1, last)
        raise UnansweredError(f"{last} ({self._params.attempts} attempts)")

    def _why(self, error: Exception, limit_s: float | None) -> str:
        if isinstance(error, aiohttp.TooManyRedirects):
            return "the server redirects in a circle"
        return one_line(error) if str(error) else f"the server sent nothing for {limit_s or self._params.timeout_s:g} s"

    def _require_right(self, answer: aiohttp.ClientResponse) -> None:
        """Refuse an answer without content: FaultyError where it may come later, else UnansweredError."""
        if answer.status in _AGAIN:
            self._hold(answer.headers.get("Retry-After", ""))
            raise FaultyError(f"the server answered {answer.status} {answer.reason}")
        if answer.status >= 400 and answer.status != _NO_SUCH_RANGE:
            raise UnansweredError(f"the server answered {answer.status} {answer.reason}")

    async def _turn(self) -> None:
        """Wait until the next request may begin."""
        now = asyncio.get_running_loop().time()
        mine = max(now, self._next)
        self._next = mine + 1.0 / self._params.requests_per_second
        await asyncio.sleep(mine - now)

    def _hold(self, seconds: str) -> None:
        """Begin no request for as long as the server asks."""
        if seconds.isdecimal():
            wait = min(float(seconds), _LONGEST_PAUSE_S)
            self._next = max(self._next, asyncio.get_running_loop().time() + wait)

    def _pause(self, attempt: int) -> float:
        """Seconds before an attempt: a limit that doubles, less a random part, so that clients come back apart."""
        return random.uniform(0.5, 1.0) * min(self._params.backoff_s * 2.0 ** (attempt - 1), _LONGEST_PAUSE_S)


def agent(contact: str) -> str:
    """How requests sign: the program, its version and whom to write to."""
    return f"darkhaloscope/{pipeline_version()} ({contact})" if contact else f"darkhaloscope/{pipeline_version()}"


async def body(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """All bytes of an answer; FaultyError if there are more than ``most``."""
    content = bytearray()
    async for part in answer.content.iter_chunked(_PART):
        content += part
        if len(content) > most:
            raise FaultyError(f"the answer is longer than {most} bytes")
    return bytes(content)
