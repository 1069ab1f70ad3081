from pathlib import Path

import pytest

from pipeline.dependencies import stage_files


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
            "pipeline/stages/pool.py": "from etl import pool\nTABLE = 'gates'\n",
            "etl/__init__.py": "",
            "etl/catalogues/pool.py": "def f():\n    from lake.hashing import g\n    'experiments'\n",
            "lake/__init__.py": "",
            "lake/sky/hashing.py": "import lake.errors\nfrom typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    import lake.unused\n",
            "lake/errors.py": "",
            "lake/unused.py": "",
            "lake/tables/gates.py": "",
            "lake/tables/experiments.py": "",
        },
    )
    assert stage_files(root, "pool") == [
        "etl/catalogues/pool.py",
        "lake/sky/hashing.py",
        "lake/tables/gates.py",
        "pipeline/stages/pool.py",
    ]


@pytest.mark.parametrize("stage", ["demo", "history", "train", "evaluate", "grid", "diagnose", "report"])
def test_a_change_in_the_spark_jobs_does_not_train_or_score_again(stage: str) -> None:
    files = stage_files(Path(__file__).resolve().parents[2], stage)
    assert f"pipeline/stages/{stage}.py" in files
    assert not [name for name in files if name.startswith("etl/")]
