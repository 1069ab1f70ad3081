"""Code cards: which files a stage depends on, and which edits change them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lake import yamltext
from lake.errors import DataError
from pipeline.project import params
from pipeline.project.codecards import DATA_SUFFIXES, PACKAGES, PROJECT, RESOLVED, Code
from pipeline.project.project import Project
from pipeline.stage import stage_names
from pipeline.stages import code

MODULE = '''"""What it is."""

WIDTH = 3
"""How wide."""


def area(height: float) -> float:
    """Of a box."""
    return WIDTH * height  # not of a disc
'''


@pytest.fixture(scope="module")
def own() -> Code:
    """The code of this project, read once."""
    return Code()


def project(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_imports_are_followed_and_tables_by_name(tmp_path: Path) -> None:
    root = project(
        tmp_path,
        {
            "pipeline/stages/pool.py": "'negatives'\nfrom etl.catalogues import pool\nTABLE = 'gates'\n",
            "etl/catalogues/__init__.py": "'''Catalogues.'''\n",
            "etl/catalogues/pool.py": "def f():\n    from lake.sky.hashing import g\n    return 'experiments'\n",
            "lake/__init__.py": "",
            "lake/sky/__init__.py": "VERSION = 1\n",
            "lake/sky/hashing.py": "import lake.errors\nfrom typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    import lake.unused\n",
            "lake/errors.py": "CODE = 1",
            "lake/unused.py": "CODE = 1",
            "lake/tables/gates.py": "CODE = 1",
            "lake/tables/experiments.py": "CODE = 1",
            "lake/tables/negatives.py": "CODE = 1",
        },
    )
    assert list(Code(root).card("pipeline/stages/pool.py")) == [
        "etl/catalogues/pool.py",
        "lake/sky/__init__.py",
        "lake/sky/hashing.py",
        "lake/tables/gates.py",
        "pipeline/stages/pool.py",
    ]


@pytest.mark.parametrize(
    "lists",
    [
        "import pkgutil\nFOUND = pkgutil.iter_modules(['.'])",
        "from pkgutil import iter_modules\nF = iter_modules(['.'])",
    ],
)
def test_a_module_that_lists_its_neighbours_depends_on_them(tmp_path: Path, lists: str) -> None:
    files = {
        "pipeline/stages/diagnose.py": "from analysis.diagnostics import discovery\n",
        "analysis/diagnostics/discovery.py": lists,
        "analysis/diagnostics/annulus.py": "CODE = 1",
        "analysis/other.py": "CODE = 1",
    }
    assert list(Code(project(tmp_path, files)).card("pipeline/stages/diagnose.py")) == [
        "analysis/diagnostics/annulus.py",
        "analysis/diagnostics/discovery.py",
        "pipeline/stages/diagnose.py",
    ]


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("What it is", "What it was", False),
        ('\n"""How wide."""', "", False),
        ('    """Of a box."""\n', "", False),
        ("  # not of a disc", "", False),
        ("WIDTH * height", "(WIDTH *\n        height)", False),
        ("WIDTH = 3", "WIDTH = 4", True),
        ("WIDTH * height", "height * WIDTH", True),
        ("WIDTH = 3", "WIDTH = 3.0", True),
        ("return", "yield", True),
        ("height: float", "height: int", True),
    ],
)
def test_comments_docstrings_and_layout_do_not_change_a_card(tmp_path: Path, old: str, new: str, changes: bool) -> None:
    root = project(tmp_path, {"pipeline/stages/pool.py": MODULE})
    before = Code(root).card("pipeline/stages/pool.py")
    assert old in MODULE
    project(root, {"pipeline/stages/pool.py": MODULE.replace(old, new)})
    assert (Code(root).card("pipeline/stages/pool.py") != before) is changes


@pytest.mark.parametrize(
    ("data", "module", "word"),
    [
        ("a/rules.yaml", "a/rules.py", "rules.yaml"),
        ("a/sets/x.csv", "a/b.py", "sets"),
        ("sets/x.html", "a/b.py", "sets"),
    ],
)
def test_package_data_that_a_module_names_is_compared_by_its_bytes(
    tmp_path: Path, data: str, module: str, word: str
) -> None:
    dotted = module.removesuffix(".py").replace("/", ".")
    stage = {"pipeline/stages/pool.py": f"import etl.{dotted}"}
    files = {**stage, f"etl/{module}": f"NAME = '{word}'", f"etl/{data}": "# a\n"}
    root = project(tmp_path, {**files, "etl/a/other.yaml": "unused"})
    before = Code(root).card("pipeline/stages/pool.py")
    assert set(before) == set(files)
    project(root, {f"etl/{data}": "# b\n"})
    after = Code(root).card("pipeline/stages/pool.py")
    assert {path for path in after if after[path] != before[path]} == {f"etl/{data}"}


def test_a_stage_depends_on_the_contract_of_every_table_that_it_writes(own: Code) -> None:
    for stage, entry in yamltext.values((PROJECT / "dvc.yaml").read_text())["stages"].items():
        outs = [next(iter(out)) for out in entry.get("do", entry)["outs"] if isinstance(out, dict)]
        tables = {Path(out).name.partition(".")[0] for out in outs if out.startswith("data/cards/")}
        card = own.card(f"pipeline/stages/{stage}.py")
        assert not {name for name in tables if f"lake/tables/{name}.py" not in card}, stage


@pytest.mark.parametrize("text", [b"def f(:", b"# caf\xe9\nA = '\xff'", b"A = 1\0"])
def test_a_module_that_is_not_python_is_named(tmp_path: Path, text: bytes) -> None:
    root = project(tmp_path, {"pipeline/stages/pool.py": "import etl.a"})
    (root / "etl").mkdir()
    (root / "etl" / "a.py").write_bytes(text)
    with pytest.raises(DataError, match=r"^etl/a\.py is not valid Python: [^\n]*; correct it"):
        Code(root).card("pipeline/stages/pool.py")


READ_BY_COMMANDS = {"injection/priors/collett2015.yaml", "analysis/figures/judging.html"}
"""Package data that no stage reads."""


def test_every_stage_has_a_card_and_each_edit_changes_those_of_its_readers(tmp_path: Path) -> None:
    place = Project(tmp_path, params.load(PROJECT).values)
    code.run(place)
    cards = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("data/code/*.json")}
    assert set(cards) == {*stage_names(), "nothing"}
    assert all(f"pipeline/stages/{stage}.py" in cards[stage] for stage in stage_names())
    readers = {
        "injection/priors/priors.yaml": {"grid", "trials", "diagnose", "report", "stamps"},
        "analysis/page/page.html": {"report"},
        "demo/sweep_columns.csv": {"demo"},
        "modeling/history/training_epochs.csv": {"history"},
        "pipeline/stages/train.py": {"train"},
        "etl/catalogues/near.py": {"pool"},
        "modeling/generations/demo1.yaml": set(),
    }
    for name, wanted in readers.items():
        assert {stage for stage, card in cards.items() if name in card} == wanted, name
    data = [path for name in PACKAGES for path in (PROJECT / name).rglob("*") if path.suffix in DATA_SUFFIXES]
    names = {path.relative_to(PROJECT).as_posix() for path in data if path.name != "dvc.yaml"}
    used = set().union(*cards.values(), READ_BY_COMMANDS)
    assert {n for n in names if not n.startswith(RESOLVED)} <= used
    code.run(place)
    assert {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("data/code/*.json")} == cards


@pytest.mark.parametrize("stage", ["demo", "history", "train", "evaluate", "grid", "diagnose", "report"])
def test_a_change_in_the_spark_jobs_does_not_train_or_score_again(own: Code, stage: str) -> None:
    files = own.card(f"pipeline/stages/{stage}.py")
    assert f"pipeline/stages/{stage}.py" in files
    assert not [name for name in files if name.startswith("etl/")]
