"""Modules that libraries import and hardly any command uses, loaded where they are used."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader

NAMES = ("numpy.f2py", "numpy.testing")
"""`from numpy import *`, which `scipy.special` has behind it, imports a Fortran compiler's front end and unittest."""


def install() -> None:
    """For the start of a process."""
    sys.meta_path.insert(0, _Later())


class _Later(MetaPathFinder):
    """Finds these modules as the next finder would, and has them run when something is asked of them."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        if fullname not in NAMES:
            return None
        spec = PathFinder.find_spec(fullname, path)  # type: ignore[arg-type]
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec
