"""Decisions and gates as ``decisions.yaml`` declares them."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Literal

from analysis.records import Status
from lake import yamltext
from lake.config import Section

Part = Literal["tree", "retrain", "anchors", "closure", "checklist"]


class Evidence(Section):
    """What a decision is taken from: exactly one kind of evidence."""

    measure: str | None = None
    """Name in `diagnostics`; `{headline}` stands for the headline threshold."""
    gates: tuple[str, ...] = ()
    """Names in `gates`."""
    any_of_them: bool = False
    """GO if one gate or decision is; otherwise all have to be."""
    reads: Mapping[str, Status] = {}
    """What a gate's status means here, where it does not mean itself."""
    completeness_at: str | None = None
    """Threshold of the marginal in `completeness`."""
    all_of: tuple[str, ...] = ()
    """Other decisions."""
    measured: tuple[str, ...] = ()
    """Names that `diagnostics` must hold."""
    with_interval: bool = False
    """Whether these must have intervals."""
    auc_change: bool = False
    """The paired change in AUC against the network that this one starts from."""
    check: str | None = None
    """A function of the page's inputs."""


class Declared(Section):
    """One decision, as declared."""

    name: str
    """Its identifier."""
    part: Part
    """Where it belongs."""
    question: str
    """What is asked."""
    evidence: Evidence
    """What it is taken from."""
    threshold: float | None = None
    """Value that the figure is compared with."""
    side: Literal["above", "below"] | None = None
    """Where the figure has to lie."""
    unit: str = ""
    """Of figure and threshold."""
    rule: str = ""
    """The rule in words, where there is no threshold."""
    note: str = ""
    """What a reader has to know."""
    consequence: Mapping[Status, str]
    """What follows, by outcome."""
    then: Mapping[Status, str] = {}
    """The decision that is taken next, by outcome."""

    @property
    def rule_words(self) -> str:
        """The rule: enough to repeat the decision by hand."""
        if self.threshold is None:
            return self.rule or "everything asked for is in the tables"
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.side} {self.threshold:g}{unit}, with the whole 95 % interval"


class DeclaredGate(Section):
    """What gates of a diagnostic ask."""

    name: str
    """Pattern of their names."""
    question: str
    """What is asked."""
    consequence: str
    """What follows where one fails."""


class File(Section):
    """``decisions.yaml``."""

    decisions: tuple[Declared, ...]
    """In reading order."""
    gates: tuple[DeclaredGate, ...]
    """Of the diagnostics."""


@cache
def declared() -> File:
    """The declared decisions and gates."""
    text = resources.files("analysis.reporting").joinpath("decisions.yaml").read_text(encoding="utf-8")
    return File.load(yamltext.values(text), "decisions.yaml")


def gate_of(name: str) -> DeclaredGate | None:
    """What a gate of a diagnostic asks; None where it is not declared."""
    return next((gate for gate in declared().gates if fnmatchcase(name, gate.name)), None)
