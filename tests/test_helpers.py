"""Helpers of tests live in modules named for them, so that a test module can be changed without breaking another."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
WHOLE_TESTS = {"injection/test_mutants.py"}
"""Modules that run tests of others, on codes that these must refuse."""


def imports_of_tests(text: str) -> list[str]:
    """Names of the test modules that a module's text imports from."""
    return re.findall(r"^\s*(?:from|import) tests(?:\.\w+)*(?:\.| import .*?\b)(test_\w+)", text, re.MULTILINE)


def test_imports_are_found() -> None:
    text = "from tests.lake.test_a import b\nfrom tests.lake import c, test_d\nfrom tests.lake.e import test\n"
    assert imports_of_tests(text) == ["test_a", "test_d"]


def test_no_test_module_imports_from_another() -> None:
    found = {str(path.relative_to(TESTS)): imports_of_tests(path.read_text()) for path in TESTS.rglob("*.py")}
    assert {name for name, imported in found.items() if imported} - {Path(__file__).name} == WHOLE_TESTS
