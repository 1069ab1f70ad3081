"""Every diagnostic of this folder, and the parameters of all of them as one section."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from types import ModuleType

from pydantic import create_model

from analysis import diagnostics
from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Drawing, Outcome, merge
from analysis.results.untouched import unjudged
from lake.errors import invalid


def found() -> list[ModuleType]:
    """The modules of the folder that have a function `diagnose`; after them those with a function `conclude`, which is
    given what the others found."""
    names = sorted(module.name for module in pkgutil.iter_modules(diagnostics.__path__) if module.name != "discovery")
    modules = [importlib.import_module(f"{diagnostics.__name__}.{name}") for name in names]
    return [module for verb in ("diagnose", "conclude") for module in modules if hasattr(module, verb)]


def section(modules: Iterable[ModuleType]) -> type[DiagnosticParams]:
    """The parameters of some diagnostics in one class."""
    classes = tuple(module.Params for module in modules if hasattr(module, "Params"))
    return create_model("DiagnoseParams", __base__=classes, __doc__="Thresholds of the gates, sizes of their samples.")


def run(modules: Iterable[ModuleType], subject: Subject) -> Outcome:
    """The merged outcome of some diagnostics; ``subject.params`` is an instance of their :func:`section`.

    A module with `UNTOUCHED` has gates on objects that the finder must not have seen: where that is not known they are
    not measured.
    """
    parts: list[Outcome] = []
    for module in modules:
        if hasattr(module, "conclude"):
            part = module.conclude(subject, subject.params, merge("diagnose", parts))
        else:
            part = module.diagnose(subject, subject.params)
        if on_untouched(module):
            part = unjudged(part, subject.unknown)
        name = _name(module)
        if part.diagnostic != name:
            raise invalid("diagnostic", f"'{name}', the name of its module", part.diagnostic)
        parts.append(part)
    return merge("diagnose", parts)


def on_untouched(module: ModuleType) -> bool:
    """Whether a diagnostic judges the finder on objects that it must not have seen."""
    return bool(getattr(module, "UNTOUCHED", False))


def named() -> dict[str, ModuleType]:
    """Every diagnostic by the name of its module."""
    return {_name(module): module for module in found()}


def titles() -> dict[str, str]:
    """The question of each diagnostic, from the first line of its module, by the name of the module."""
    return {_name(module): _question(str(module.__doc__).splitlines()[0]) for module in found()}


def _name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def _question(line: str) -> str:
    question = line.removeprefix("Diagnostic:").strip().partition("?")[0].rstrip(".")
    return question[:1].upper() + question[1:] + "?"


def drawings() -> Mapping[str, Drawing]:
    """How the figures of every diagnostic are drawn, by name."""
    return {name: drawing for module in found() for name, drawing in getattr(module, "FIGURES", {}).items()}


DiagnoseParams = section(found())
