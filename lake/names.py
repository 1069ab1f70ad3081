"""Names of finders and manifests: they become parts of paths, of slices of tables, of stages and of commands."""

from __future__ import annotations

import re

from lake.errors import invalid

PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"


def checked_name(name: object, parameter: str) -> str:
    """The name itself, if it is safe in a path and in a command."""
    if not isinstance(name, str) or not re.fullmatch(PATTERN, name):
        raise invalid(parameter, "up to 64 letters, digits, '-' and '_', the first a letter or digit", name)
    return name
