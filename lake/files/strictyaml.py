"""YAML files of users, read as the plain values they show; anything that YAML would read differently is refused.

No aliases (they can expand to more values than fit into memory, or to themselves), no repeated keys, no infinities,
UTF-8 only, and limited depth and size.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from lake import yamltext
from lake.errors import ParameterError, invalid, one_line

LARGEST_FILE = 2**20
"""Bytes."""
LARGEST_DEPTH = 32
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class StrictnessError(ValueError):
    """YAML that would be read differently from how it looks."""


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a file; ParameterError with the reason if it contains anything else."""
    try:
        values = parse(_text(path))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ParameterError(f"{path} cannot be read as parameters: {one_line(error)}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise invalid(str(path), "a mapping of sections", type(values).__name__)
    return values


def parse(text: str) -> Any:
    """The values of one YAML document."""
    return yamltext.parsed_once(_strictly, text)


def _strictly(text: str) -> Any:
    depth = 0
    for event in yaml.parse(text, Loader=_Base):
        line = event.start_mark.line + 1 if event.start_mark else 0
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > LARGEST_DEPTH:
            raise StrictnessError(f"more than {LARGEST_DEPTH} levels of nesting in line {line}")
        if isinstance(event, yaml.AliasEvent):
            raise StrictnessError(f"the alias *{event.anchor} in line {line}; write the value out")
    return yaml.load(text, Loader=_Strict)


def _text(path: Path) -> str:
    if not path.is_file():
        raise OSError("it is not a regular file" if path.exists() else "no such file")
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"it has more than {LARGEST_FILE} bytes")
    content = path.read_bytes()
    if content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it begins with a byte order mark; save it as UTF-8 without one")
    return content.decode("utf-8")


class _Strict(_Base):
    """The safe loader, restricted to text keys without repetition and to finite numbers."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise StrictnessError(f"a key that is not text in line {line}")
            if key.value in seen:
                raise StrictnessError(f"the key '{key.value}' twice, again in line {line}")
            seen.add(key.value)
        values: dict[str, Any] = super().construct_mapping(node, deep=True)
        if not all(isinstance(key, str) for key in values):
            raise StrictnessError(f"a key that is not text after line {node.start_mark.line + 1}; quote it")
        return values

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        value: float = super().construct_yaml_float(node)
        if not math.isfinite(value):
            raise StrictnessError(f"the number {node.value} in line {node.start_mark.line + 1}, which is not finite")
        return value


_Strict.add_constructor("tag:yaml.org,2002:float", _Strict.construct_yaml_float)
