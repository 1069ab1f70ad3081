"""The shell of `dhs query`: several lines a query, errors that do not end it, queries from standard input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from lake.errors import ParameterError
from pipeline.cli import dhs
from pipeline.project.edge import explained
from pipeline.tables import shell
from tests.pipeline.checkout import PROJECT

Typing = Callable[..., list[str]]


@pytest.fixture
def typing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Typing:
    """A shell into which lines are typed; what it was asked."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def type_(*lines: str | BaseException, answer: Callable[[str], None] = str) -> list[str]:
        left, asked = list(lines), []

        def typed(prompt: str) -> str:
            line = left.pop(0) if left else EOFError()
            if isinstance(line, BaseException):
                raise line
            return line

        monkeypatch.setattr("builtins.input", typed)
        shell.converse(lambda text: (asked.append(text), answer(text))[1])
        assert not left, "the shell ended early"
        return asked

    return type_


def test_a_query_ends_with_a_semicolon_or_an_empty_line(typing: Typing) -> None:
    assert typing("select 1;", "select", "  2", "", "", "select 3", "; ") == ["select 1", "select\n  2", "select 3"]
    assert typing("select 1; select ';';") == ["select 1;", "select ';'"]


def test_short_commands(typing: Typing) -> None:
    assert typing("\\tables", "\\describe gates;", "\\d gates", "quit;") == [
        "show tables",
        "describe gates",
        "describe gates",
    ]
    for word in ("quit", "exit", "\\q", "\\quit"):
        assert typing(word) == []


def test_errors_and_ctrl_c_do_not_end_it(typing: Typing, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(text: str) -> None:
        if text == "a":
            raise ParameterError("there is no a")
        if text == "b":
            raise KeyboardInterrupt

    assert typing("a;", "b;", "half", KeyboardInterrupt(), "c;", answer=refuse) == ["a", "b", "c"]
    assert "dhs: there is no a\n" in capsys.readouterr().err


def test_a_bug_ends_it(typing: Typing) -> None:
    def broken(text: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        typing("a;", answer=broken)


def test_queries_of_a_text_are_told_apart() -> None:
    text = "select ';' as a -- ;\n;\nshow tables;\n\ndescribe gates"
    assert list(shell.statements(text)) == ["select ';' as a -- ;\n;", "show tables;", "describe gates"]
    assert list(shell.statements("selec 1; select 2")) == ["selec 1; select 2"]
    assert list(shell.statements(" \n")) == []


def test_queries_come_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text((PROJECT / "params.yaml").read_text())
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "mine.csv").write_text("a,b\n1,x\n")

    def run(*options: str, text: str | bytes = "select 1 as a; from read_csv('mine.csv')") -> str:
        monkeypatch.chdir(tmp_path / "below")
        found = CliRunner().invoke(dhs, ["query", *options], input=text)
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        return found.stdout

    assert run("--format", "csv") == '"a"\n1\n"a","b"\n1,"x"\n'
    assert [json.loads(part) for part in run("--format", "json").splitlines()] == [[{"a": 1}], [{"a": 1, "b": "x"}]]
    assert run() == "a\n1\n(1 row)\na  b\n1  x\n(1 row)\n"
    with pytest.raises(ParameterError, match="'SQL' must be one query with --out, got '2 queries'"):
        run("--out", "rows.csv")
    assert "1 rows written" in run("--out", "rows.csv", text="select 1 as a")
    with pytest.raises(ParameterError, match="'SQL' must be a query, such as"):
        run(text="")
    for wrong in (b"select '\xff'", b"\xff"):
        with pytest.raises(UnicodeEncodeError) as caught:
            run(text=wrong)
        assert "is not UTF-8 text" in str(explained(caught.value))
