"""Progress on long work, on standard error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterable[T]:
    """Iterate with a progress bar; quiet where standard error is no terminal, except for one line a minute."""
    return tqdm(items, desc=description, total=total, mininterval=0.5, dynamic_ncols=True, disable=None)
