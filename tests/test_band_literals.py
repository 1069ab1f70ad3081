"""Injection, networks and analysis name no band, pixel scale, zero point or stamp size: an imaging declares them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("injection", "modeling", "analysis")
BAND = re.compile(r"(?:^|[_ ])[griz](?:[_ ]|$)|^[griz]{2,4}$|\b[griz]-band\b")
NUMBERS = (0.262, 22.5, 101, 0.263)
MODES = ("open", "File", "ZipFile")
ALLOWED = {
    # the columns of a RealGalaxyCatalog, and the colours that banks made from it hold
    ("injection/galaxies/catalogues.py", "HSC_g"),
    ("injection/galaxies/catalogues.py", "HSC_r"),
    ("injection/galaxies/catalogues.py", "HSC_z"),
    ("injection/galaxies/banks.py", "g_minus_r"),
    ("injection/galaxies/banks.py", "r_minus_z"),
    # a stratum of the lake's own catalogue tables
    ("analysis/diagnostics/split_balance.py", "nobs_z_bin"),
    ("analysis/results/evaluation.py", "nobs_z_bin"),
    ("analysis/reporting/evidence.py", "nobs_z_bin"),
    ("analysis/reporting/evidence.py", "exposures in z"),
    # the redshift of a lens
    ("analysis/reporting/found.py", "z_lens"),
    # the z of a test
    ("analysis/page/ranking.py", "z"),
    ("analysis/reporting/selection.py", "root mean square of z"),
    ("analysis/results/emulation.py", "z"),
    ("analysis/results/emulation.py", " cells inside, rms z "),
    # radii
    ("modeling/sections.py", "must be auto or [r_in, r_out] with 0 <= r_in < r_out"),
    # the bands of checkpoints that are older than their field
    ("modeling/scoring/card.py", "SURVEY"),
    # a stream of random numbers
    ("modeling/training/steps.py", 101),
}
OF_THE_CATALOGUE = {"analysis/fitted/propensity.py", "analysis/results/testlenses.py"}
"""Modules whose words are columns of the lake's own catalogue tables."""
FROM_SURVEY = {"identity"}
"""What may be imported from the survey's own module: no value of it."""


def called(function: ast.expr) -> str:
    """The last name of what is called."""
    match function:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ast.unparse(function)


def literals(source: str) -> Iterator[object]:
    """Bands and numbers of a survey in code, docstrings and formats apart, and what it imports of the survey."""
    nodes = list(ast.walk(ast.parse(source)))
    apart = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.FormattedValue) and node.format_spec is not None:
            apart |= {id(part) for part in ast.walk(node.format_spec)}
        if isinstance(node, ast.Call) and called(node.func) in MODES:
            apart |= {id(argument) for argument in node.args}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lake.sky"):
            names = {alias.name for alias in node.names}
            yield from names - FROM_SURVEY if node.module == "lake.sky.survey" else names & {"survey"}
        if isinstance(node, ast.Compare) and any(isinstance(sign, ast.Eq | ast.NotEq) for sign in node.ops):
            yield from re.findall(r"shape\[1\] [!=]= \d", ast.unparse(node))
        if isinstance(node, ast.Constant) and id(node) not in apart:
            text = isinstance(node.value, str) and BAND.search(node.value)
            if text or (isinstance(node.value, int | float) and node.value in NUMBERS):
                yield node.value


def test_no_value_of_a_survey_is_written_in_its_code() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(files) > 80
    found = {(str(path.relative_to(ROOT)), value) for path in files for value in literals(path.read_text())}
    found = {(name, value) for name, value in found if name not in OF_THE_CATALOGUE or not isinstance(value, str)}
    assert found - ALLOWED == set()
    assert ALLOWED - found == set(), "what is allowed is there"


@pytest.mark.parametrize(
    "line",
    [
        "rows['src_mag_r']",
        "bands = 'grz'",
        "x = stamps[:, 'g']",
        "f'host_depth_r_mag'",
        "f'{name}: r-band {value:g}'",
        "f'{name}_z'",
        "SCALE = 0.262",
        "mag = 22.5 - flux",
        "zeros(count, 3, 101, 101)",
        "if stamps.shape[1] != 3: fail()",
        "from lake.sky.survey import BANDS",
        "from lake.sky.survey import SURVEY, identity",
        "from lake.sky import survey",
    ],
)
def test_each_kind_of_literal_is_seen(line: str) -> None:
    assert list(literals(line))


def test_formats_modes_docstrings_and_other_names_are_no_bands() -> None:
    source = '"""In r."""\nopen(path, "r")\nf"{x:g}"\nname = "src_q", "src_re_arcsec", "psf_fwhm", "gain", "recall"'
    assert not list(literals(source))
