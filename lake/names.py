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


RESERVED = {
    "training": r"(resnet-|sim-)?gen\d+[a-z]?(-audit)?(-fast)?|R\d+",
    "diagnostic": r"D\d{2}(-.+)?",
    "evaluation": r"E\d{2}-[A-Za-z0-9]+",
    "injection": r"IM\d+",
}
"""Identifiers of the experiment registry, by the kind of run that alone may bear them."""
RUN_KINDS = ("train", "evaluate", "diagnose", "grid", "trials", "pairs", "audit", "import")
"""A run of this project is named after its kind and its finder: ``evaluate-demo1``."""
GENERATION = rf"{RESERVED['training']}|demo\d+|resnet18(_baseline_v1)?"
"""Names of generations that the package ships; the last two were recorded before there was a rule."""


def run_name(kind: str, finder: str) -> str:
    """The registry's identifier of a run."""
    return f"{kind}-{finder}"


def generation_name(name: str, parameter: str) -> str:
    """The name itself, if a generation may bear it: one of the registry's for trainings, or a free one."""
    return name if re.fullmatch(GENERATION, checked_name(name, parameter)) else free_name(name, parameter)


def free_name(name: str, parameter: str) -> str:
    """The name itself, if no identifier of the registry can be taken for it: that of a user's finder or import."""
    kind = next((kind for kind, form in RESERVED.items() if re.fullmatch(form, checked_name(name, parameter))), None)
    if kind is not None:
        raise invalid(parameter, f"a name of your own: those like '{name}' are {kind} runs in the registry", name)
    first = name.partition("-")[0]
    if first in RUN_KINDS and "-" in name:
        raise invalid(parameter, f"a name that does not begin with '{first}-', as runs in the registry do", name)
    return name
