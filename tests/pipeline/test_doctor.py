import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import doctor

ROOT = Path(__file__).resolve().parents[2]


def test_python_is_named() -> None:
    assert [doctor.python_problem((3, minor)) for minor in (11, 12, 13)] == [None] * 3
    for version in ((3, 10), (3, 14)):
        problem = str(doctor.python_problem(version))
        assert f"Python 3.11, 3.12 or 3.13 is needed and this is 3.{version[1]}" in problem


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ('openjdk version "17.0.15" 2025-04-15', None),
        ('java version "1.8.0_391"', "java is version 1"),
        ('openjdk version "21.0.1"', "java is version 21"),
        ("Unable to locate a Java Runtime", "java is version unknown"),
        (None, "no java was found"),
    ],
)
def test_java_is_named(answer: str | None, sentence: str | None) -> None:
    found = doctor.java_problem(answer)
    assert (found is None) == (sentence is None)
    if sentence:
        assert sentence in str(found)
        assert "install a JDK 17" in str(found)


def test_a_java_without_memory_is_not_told_to_be_installed() -> None:
    answer = "Error occurred during initialization of VM\nCould not reserve enough space for code cache (245760K)\n"
    found = str(doctor.java_problem(answer))
    assert "Java cannot start (Error occurred" in found
    assert "ulimit -v" in found
    assert "install" not in found


def test_disk_and_memory_are_named() -> None:
    assert doctor.disk_problem(100) is None
    assert "1.0 GB are free" in str(doctor.disk_problem(1.0))
    assert doctor.memory_problem(16) is None
    assert "has 2.0 GB" in str(doctor.memory_problem(2.0))


def test_runs_on_plain_python_with_nothing_installed() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / "pipeline" / "doctor.py")],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/nonexistent"},
    )
    assert done.returncode == 1
    assert "no java was found" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_machine_that_lacks_nothing_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "problems", lambda folder: [])
    assert doctor.main() == 0
    assert capsys.readouterr().out == "Python, Java, disk and memory are sufficient\n"


def test_make_refuses_a_python_other_than_that_of_the_environment(tmp_path: Path) -> None:
    old = tmp_path / ".venv" / "bin" / "python"
    old.parent.mkdir(parents=True)
    old.write_text("#!/bin/sh\necho 3.10\n")
    old.chmod(0o755)
    makefile = str(ROOT / "Makefile")
    done = subprocess.run(
        ["make", "-f", makefile, "setup", f"PYTHON={sys.executable}"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert f".venv was made with Python 3.10: delete it (rm -rf .venv) to use {sys.executable}" in done.stderr
