"""YAML files of the package and the project as plain values; ``lake.files.strictyaml`` is for those of users."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import yaml

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BASE: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""In C they take a tenth of the time."""


class _Dumper(_BASE):
    """Writes a value that stands in several places each time: strict readers refuse aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def values(text: str | bytes) -> Any:
    """The values of one YAML document; ``yaml.YAMLError`` where the text is none."""
    return parsed_once(_loaded, text)


def parsed_once(parse: Callable[[Any], Any], text: str | bytes) -> Any:
    """What ``parse`` makes of a text: one that is read again is parsed once, and each reader gets values of its own."""
    return pickle.loads(_pickled(parse, text))  # noqa: S301 - written by this process


@lru_cache(maxsize=64)
def _pickled(parse: Callable[[Any], Any], text: str | bytes) -> bytes:
    return pickle.dumps(parse(text))


def _loaded(text: str | bytes) -> Any:
    return yaml.load(text, Loader=_LOADER)


def text(values: object, **options: Any) -> str:
    """A YAML text of plain values, their keys in the order given; ``options`` are those of ``yaml.dump``."""
    return str(yaml.dump(values, Dumper=_Dumper, sort_keys=False, **options))
