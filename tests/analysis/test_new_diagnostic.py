"""A new diagnostic is one module: its parameters, rows and place on the page come by themselves."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pandas as pd
import pytest

from analysis import diagnostics
from analysis.diagnostics import discovery
from analysis.diagnostics.subject import Subject
from analysis.page.report import rendered
from lake.sky.survey import SURVEY

MODULE = '''"""Diagnostic: is the zero point right? In every brick."""

from pydantic import Field
from analysis.config import DiagnosticParams
from analysis.records import Drawing, Finding, Measure, Outcome, Point, gate_below

class Params(DiagnosticParams):
    zeropoint_error_max: float = Field(0.02, gt=0)
    """Largest error of the zero point (mag)."""

FIGURES = {"zeropoint/bricks": Drawing("Zero point per brick", "brick", "error (mag)", reference=0.02)}

def diagnose(subject, params):
    error = Measure("zeropoint/error", float(subject.manifest["error"].median()), 0.009, 0.011, len(subject.manifest))
    errors = enumerate(subject.manifest["error"])
    points = tuple(Point("zeropoint/bricks", "g", i, each, each - 0.1, each + 0.1, 9, f"b{i}") for i, each in errors)
    gates = (gate_below("zeropoint", error, params.zeropoint_error_max, "small"),)
    return Outcome("zeropoint", (error,), gates, findings=(Finding("The zero point is off."),), points=points)
'''


@pytest.fixture
def added(tmp_path, monkeypatch):
    (tmp_path / "zeropoint.py").write_text(MODULE)
    monkeypatch.setattr(diagnostics, "__path__", [*diagnostics.__path__, str(tmp_path)])
    yield next(module for module in discovery.found() if module.__name__.endswith(".zeropoint"))
    del diagnostics.zeropoint, sys.modules["analysis.diagnostics.zeropoint"]


def subject(params):
    manifest, nothing = pd.DataFrame({"error": [0.0, 0.01, 0.3]}), pd.DataFrame()
    return Subject(manifest, nothing, nothing, nothing, (), SURVEY, (0.7, 0.15, 0.15), 1, params, None, None)


def test_its_parameters_join_the_section_with_their_values(added, diagnose):
    section = discovery.section(discovery.found())
    assert section.load(diagnose.model_dump(), "diagnose").zeropoint_error_max == 0.02
    assert (
        section.load({**diagnose.model_dump(), "zeropoint_error_max": 0.001}, "diagnose").zeropoint_error_max == 0.001
    )


@pytest.mark.usefixtures("words_only")
def test_its_rows_are_written_and_its_group_is_shown(added, diagnose, inputs, html):
    params = discovery.section([added]).load({**diagnose.model_dump(include=SHARED), "zeropoint_error_max": 0.001}, "x")
    outcome = discovery.run([added], subject(params))
    (gate,) = outcome.gates_rows("diagnose-demo1")
    assert (gate["name"], gate["status"], gate["value"]) == ("zeropoint", "FAIL", 0.01)
    item = inputs.generations[0]
    without = dataclasses.replace(inputs, generations=[item], galleries=())
    run = "diagnose-demo1"
    new = dataclasses.replace(
        item,
        diagnostics=pd.concat([item.diagnostics, pd.DataFrame(outcome.diagnostics_rows(run))]),
        gates=pd.concat([item.gates, pd.DataFrame(outcome.gates_rows(run))]),
        findings=pd.DataFrame(outcome.findings_rows(run)),
        points=pd.DataFrame(outcome.points_rows(run)),
    )
    shown = rendered(dataclasses.replace(without, generations=[new])).html
    for words in ("zeropoint/error", "Is the zero point right?", "The zero point is off.", "Zero point per brick"):
        assert words in shown
    assert 'id="diagnostic-zeropoint"' in shown
    assert "Zero point per brick. Error bars: 95 % intervals." in shown
    assert '<span class="tag FAIL">FAIL</span> zeropoint' in shown
    assert "zeropoint" not in html


SHARED = set(discovery.DiagnosticParams.model_fields)


@pytest.mark.usefixtures("whole_stage")
def test_parameters_are_read_without_heavy_libraries():
    """Every stage reads parameters: scikit-learn, scipy.stats or compiled code would add half a second to each."""
    code = (
        "import sys, analysis.diagnostics.discovery\n"
        "print(*{'sklearn', 'scipy.stats', 'matplotlib', 'torch', 'numba', 'umap'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == ""
