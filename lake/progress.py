"""Progress on long work, on standard error."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
log = logging.getLogger(__name__)

_LINE_EVERY_S = 60.0
_LOOK_EVERY_S = 0.5


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterable[T]:
    """Iterate with a progress bar; where standard error is not a terminal, with a line in the log every minute."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with _bar(description, total) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def watch(count: Callable[[], int], description: str, total: int) -> Iterator[None]:
    """Show how far work elsewhere has come, ``count`` of ``total``, while the block waits for it."""
    ended = threading.Event()

    def look() -> None:
        with _bar(description, total) as advance:
            shown = 0
            while not ended.wait(_LOOK_EVERY_S):
                now = count()
                advance(now - shown)
                shown = now
            advance(count() - shown)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


@contextmanager
def _bar(description: str, total: int | None) -> Iterator[Callable[[int], object]]:
    """A function to call with the number of items done."""
    if sys.stderr.isatty():
        with tqdm(desc=description, total=total, mininterval=_LOOK_EVERY_S, dynamic_ncols=True) as bar:
            yield bar.update
        return
    done, said = 0, time.monotonic()

    def note(more: int) -> None:
        nonlocal done, said
        done += more
        if time.monotonic() - said >= _LINE_EVERY_S:
            said = time.monotonic()
            log.info("%s: %d of %s", description, done, total if total is not None else "an unknown number")

    yield note
