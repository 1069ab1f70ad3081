"""Parameters and the working directory are read at the edge: by commands, and by nothing below them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline.checkout import PROJECT
from tests.sourcecode import MODULES, Uses

FOLDER_CALLS = {"cwd", "getcwd", "chdir", "fchdir"}
READERS = {"load", "find", "read_mapping"}
"""What reads or finds ``params.yaml``."""
PARSERS = {"yaml", "ruamel.yaml", "lake.yamltext"}
YAML = {
    "lake/yamltext.py": "nothing itself",
    "pipeline/project/params.py": "params.yaml",
    "lake/files/strictyaml.py": "how it is read",
    "pipeline/project/generations.py": "values that a user types",
    "pipeline/training/overlays.py": "own generations, which it writes",
    "pipeline/verbs/submitting.py": "parameters for a cluster, which it writes",
    "pipeline/tables/verifying.py": "DVC's record of outputs",
    "modeling/config.py": "the package's generations",
    "modeling/tracking/history.py": "the package's recorded runs",
    "analysis/reporting/facts.py": "the package's words",
    "analysis/page/context.py": "the package's references",
    "analysis/reporting/declarations.py": "the package's decisions",
    "analysis/reporting/closing.py": "the package's result of simulated skies",
    "analysis/results/expectations.py": "the package's expectations",
    "injection/priors/registry.py": "the package's priors",
    "injection/priors/population.py": "populations of the package or of a user",
}
"""The modules that import YAML, and what they read with it."""
DESCRIPTIONS = {
    "pipeline/experiment/cutouthosts.py": "what a user says of a set of cut-outs",
    "injection/priors/registry.py": "a user's own prior",
}
"""The modules that read a user's other files as strictly as ``params.yaml``, and what those are."""


Imported = Callable[[Path], frozenset[str]]


def name(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


@pytest.fixture
def imported(used: Uses) -> Imported:
    return lambda path: used(path).imports | used(path).sources


def test_the_working_directory_is_read_by_commands_and_changed_once(used: Uses) -> None:
    found = {name(path) for path in MODULES if FOLDER_CALLS & {called for _, called in used(path).calls}}
    assert {one for one in found if not one.startswith("pipeline/commands/")} == {"lake/api.py"}
    assert [name(path) for path in MODULES if ("os", "chdir") in used(path).calls] == ["pipeline/commands/opening.py"]


def test_yaml_is_read_where_it_is_listed(imported: Imported) -> None:
    assert {name(path) for path in MODULES if imported(path) & PARSERS} - {"pipeline/wiring.py"} == set(YAML)


def at_the_edge(path: Path) -> bool:
    return path.is_relative_to(PROJECT / "pipeline" / "commands") or name(path) == "pipeline/project/params.py"


BELOW = [path for path in MODULES if not at_the_edge(path)]


def test_parameters_are_loaded_by_commands_alone(used: Uses, imported: Imported) -> None:
    assert len(BELOW) > 400
    given = [path for path in BELOW if "pipeline.project.params" in imported(path)]
    assert given
    assert not {name(path) for path in given if {one for place, one in used(path).calls if place == "params"} & READERS}


def test_files_of_users_are_read_where_it_is_listed(imported: Imported) -> None:
    readers = {name(path) for path in BELOW if "lake.files.strictyaml.read_mapping" in imported(path)}
    assert readers - set(DESCRIPTIONS) == set()
