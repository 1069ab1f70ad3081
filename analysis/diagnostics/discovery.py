"""Every diagnostic of this folder, and the parameters of all of them as one section."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType

from pydantic import create_model

from analysis import diagnostics
from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Outcome, merge


def found() -> list[ModuleType]:
    """The modules of the folder that have a function `diagnose`."""
    names = sorted(module.name for module in pkgutil.iter_modules(diagnostics.__path__) if module.name != "discovery")
    modules = [importlib.import_module(f"{diagnostics.__name__}.{name}") for name in names]
    return [module for module in modules if hasattr(module, "diagnose")]


def section(modules: Iterable[ModuleType]) -> type[DiagnosticParams]:
    """The parameters of some diagnostics in one class."""
    classes = tuple(module.Params for module in modules if hasattr(module, "Params"))
    return create_model("DiagnoseParams", __base__=classes, __doc__="Thresholds of the gates, sizes of their samples.")


def run(modules: Iterable[ModuleType], subject: Subject) -> Outcome:
    """The merged outcome of some diagnostics; ``subject.params`` is an instance of their :func:`section`."""
    return merge("diagnose", [module.diagnose(subject, subject.params) for module in modules])


DiagnoseParams = section(found())
