"""The report for print: sources that LaTeX reads, whatever the text holds, with the page's tables and figures."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess

import pytest

from analysis.page import paper, parts
from analysis.page.latex import escaped, table
from analysis.reporting.views import Link, TableView, Tag

HOSTILE = "100 % of $x_1^2$ & {a} \\input{/etc/passwd} #1 ~ <b> \"q\" 'q' `q` | - [t] \u00a0—–−±× 星 é \u0007"


def test_text_is_ascii_and_carries_no_command():
    text = escaped(HOSTILE)
    assert text.isascii()
    assert text.isprintable()
    assert "\\textbackslash{}input" in text
    assert "{[}U+661F{]}" in text
    assert "e" in text.rpartition("{]}")[2], "an accent is left out"
    left = re.sub(r"\\(?:text[a-z]+|ensuremath|allowbreak|pm|times|[%$_&#{}])", "", text)
    assert not re.search(r"[\\$%#&_]", left.replace("{\\geq}", ""))


def test_a_table_has_rules_a_repeated_head_and_columns_within_the_line():
    link = Link("viewer", "https://example.org")
    view = TableView("A caption, 5 %", ("model", "AUC (%)"), [["demo_1", Tag("PASS", "0.98")], [link, "—"]])
    text = table(view, "table-1")
    for words in (
        "\\toprule",
        "\\midrule",
        "\\endhead",
        "\\bottomrule",
        "\\caption{A caption, 5 \\%}",
        "PASS 0.98",
        "viewer",
    ):
        assert words in text
    assert "https" not in text
    shares = [float(share) for share in re.findall(r"P\{([\d.]+)\}", text)]
    assert len(shares) == 2
    wide = TableView("w", tuple(f"h{k}" for k in range(12)), [["not measurable with 400 negatives"] * 12] * 3)
    shares = [float(share) for share in re.findall(r"P\{([\d.]+)\}", table(wide, "x"))]
    assert len(shares) == 12
    assert sum(shares) <= 1.001
    assert text.count("{") == text.count("}")


@pytest.fixture(scope="module")
def files(whole_stage, inputs):
    """Some chapters of a report on one model, made twice; a rule of its gates is hostile."""
    item = inputs.generations[0]
    told = dataclasses.replace(item, gates=item.gates.assign(rule=HOSTILE))
    few = dataclasses.replace(inputs, generations=[told], headline=item.name)
    with pytest.MonkeyPatch.context() as patch:
        chapters = (parts._answer, parts._grounds, parts._questions)
        patch.setattr(paper, "parts_of", lambda inputs: [part for chapter in chapters for part in chapter(inputs)])
        return paper.paper_files(few), paper.paper_files(few)


def test_the_paper_repeats_byte_for_byte(files):
    first, second = files
    assert first == second


def test_main_includes_every_file_once_and_nothing_else(files):
    made, *_ = files
    main = made["main.tex"].decode("ascii")
    asked = re.findall(r"\\(?:input|includegraphics\[[^\]]*\])\{([^}]+)\}", main)
    assert sorted(asked) == sorted(set(made) - {"main.tex"})
    assert {name.rpartition(".")[2] for name in asked} == {"tex", "pdf"}
    assert "Simulated data" in main
    assert "\\section{Limitations}" in main
    for environment in ("document", "figure", "enumerate"):
        assert main.count(f"\\begin{{{environment}}}") == main.count(f"\\end{{{environment}}}")
    for name, content in made.items():
        if name.endswith(".pdf"):
            assert content.startswith(b"%PDF")
        else:
            text = content.decode("ascii")
            assert text.replace("\\{", "").count("{") == text.replace("\\}", "").count("}"), name


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_reads_it(files, tmp_path):
    made, *_ = files
    for name, content in made.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "main.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "main.pdf").read_bytes().startswith(b"%PDF")
