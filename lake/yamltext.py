"""YAML files of the package and the project as plain values; ``lake.files.strictyaml`` is for those of users."""

from __future__ import annotations

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
    return yaml.load(text, Loader=_LOADER)


def text(values: object, **options: Any) -> str:
    """A YAML text of plain values, their keys in the order given; ``options`` are those of ``yaml.dump``."""
    return str(yaml.dump(values, Dumper=_Dumper, sort_keys=False, **options))
