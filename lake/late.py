"""Modules that libraries import and hardly any command uses, loaded where they are used."""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType
from typing import Any

NAMES = ("numpy.f2py", "numpy.testing")
"""`from numpy import *`, which `scipy.special` has behind it, imports a Fortran compiler's front end and unittest."""
_LOADING = RLock()
_BEGUN = "_dhs_loading"


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
            spec.loader = _Postponed(spec.loader)
        return spec


class _Postponed(Loader):
    """As `importlib.util.LazyLoader`, with which in Python 3.11 a second thread sees a module that is half loaded."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self.loader
        module.__class__ = _Unread


class _Unread(ModuleType):
    """A module that is run when an attribute is asked for the first time; other threads wait for it."""

    def __getattribute__(self, name: str) -> Any:
        held = ModuleType.__getattribute__(self, "__dict__")
        with _LOADING:
            if type(self) is _Unread and _BEGUN not in held:
                held[_BEGUN] = True
                try:
                    held["__loader__"].exec_module(self)
                finally:
                    del held[_BEGUN]
                self.__class__ = ModuleType  # type: ignore[assignment]
        return ModuleType.__getattribute__(self, name)
