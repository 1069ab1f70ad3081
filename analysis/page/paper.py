"""The report for print: a LaTeX source with its tables and PDF figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from analysis.figures.style import paper as on_paper
from analysis.page import exhibits
from analysis.page.latex import escaped, table
from analysis.page.layout import NumberedPart, Placed, numbered
from analysis.page.parts import parts_of
from analysis.reporting.inputs import ReportInputs
from analysis.reporting.views import Heading, Shown, TableView, Verdicts, Words

MAIN = "main.tex"
_PREAMBLE = r"""\documentclass[10pt,a4paper]{article}
\usepackage[T1]{fontenc}
\usepackage{textcomp}
\usepackage[margin=20mm]{geometry}
\usepackage{graphicx,array,booktabs,longtable,caption}
\usepackage[hidelinks]{hyperref}
\captionsetup{font=small,labelfont=bf,justification=raggedright,singlelinecheck=false}
\newcolumntype{P}[1]{>{\raggedright\arraybackslash}p{\dimexpr #1\linewidth-2\tabcolsep\relax}}
\setlength{\tabcolsep}{3pt}
\setlength{\parindent}{0pt}
\setlength{\parskip}{4pt plus 2pt}
\sloppy
"""
_SIMULATED = "Simulated data: every number was measured on a simulated sky. It shows the procedure, not the performance on a real survey."  # noqa: E501


def paper_files(inputs: ReportInputs) -> Mapping[str, bytes]:
    """Files by their path in the paper's folder: `main.tex`, `tables/*.tex`, `figures/*.pdf`; the same bytes again for
    the same inputs."""
    with on_paper():
        parts = numbered(parts_of(inputs))
    files: dict[str, bytes] = {}
    for part in parts:
        for placed in part.items:
            if isinstance(placed.item, Shown):
                files[_figure(placed.item)] = placed.item.picture.content
            elif isinstance(placed.item, TableView):
                files[_table(placed)] = table(placed.item, placed.anchor).encode("ascii")
    files[MAIN] = _main(inputs, parts).encode("ascii")
    return files


def _figure(shown: Shown) -> str:
    return f"figures/{exhibits.picture_file(shown)}"


def _table(placed: Placed) -> str:
    return f"tables/{placed.anchor}.tex"


def _main(inputs: ReportInputs, parts: list[NumberedPart]) -> str:
    """The source: sections as on the page, the tables that are folded there at the end."""
    title = escaped(f"{inputs.params.title}: which lenses does a lens finder miss?")
    lines = [_PREAMBLE, f"\\title{{{title}}}", f"\\author{{{escaped(inputs.survey_name)}}}", "\\date{}"]
    lines += ["\\begin{document}", "\\maketitle"]
    if inputs.simulated:
        lines.append(f"\\textbf{{{escaped(_SIMULATED)}}}")
    lines.append("\\tableofcontents")
    for part in parts:
        lines += [f"\\section{{{escaped(part.part.title)}}}\\label{{{part.part.anchor}}}", *_section(part)]
    folded = [placed for part in parts for placed in part.items if isinstance(placed.item, TableView | Shown)]
    lines += ["\\appendix", "\\section{Further tables and figures}"]
    lines += [line for placed in folded if _is_folded(placed) for line in _included(placed)]
    return "\n".join([*lines, "\\end{document}", ""])


def _section(part: NumberedPart) -> Iterator[str]:
    yield from (f"{escaped(words)}\n" for words in part.part.words)
    for placed in part.items:
        if not _is_folded(placed):
            yield from _included(placed)
    if part.part.notes:
        yield "\\begin{enumerate}"
        yield from (f"\\item {escaped(note)}" for note in part.part.notes)
        yield "\\end{enumerate}"


def _is_folded(placed: Placed) -> bool:
    return isinstance(placed.item, TableView | Shown) and placed.item.folded


def _included(placed: Placed) -> list[str]:
    item = placed.item
    if isinstance(item, TableView):
        return [f"\\input{{{_table(placed)}}}"]
    if isinstance(item, Shown):
        size = "width=\\linewidth,height=0.8\\textheight,keepaspectratio"
        lines = ["\\begin{figure}[htbp]\\centering", f"\\includegraphics[{size}]{{{_figure(item)}}}"]
        return [*lines, f"\\caption{{{escaped(item.caption)}}}\\label{{{placed.anchor}}}", "\\end{figure}"]
    if isinstance(item, Heading):
        return [f"\\subsection*{{{escaped(item.text)}}}"]
    if isinstance(item, Verdicts):
        return [escaped("; ".join(f"{tag.status} {about}" for tag, about in item.items)) + "\n"]
    return [escaped(item.text) + "\n"] if isinstance(item, Words) else []
