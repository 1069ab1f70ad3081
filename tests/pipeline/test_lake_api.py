"""A notebook finds and reads the project that it is in as ``dhs`` does, or is refused as ``dhs`` is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import lake
from lake import api
from lake.errors import ParameterError
from lake.root import DataRoot
from pipeline import cli
from pipeline.project import params
from tests.pipeline.checkout import PROJECT

PARAMETERS = (PROJECT / "params.yaml").read_text()


def changed(old: str, new: str) -> bytes:
    """The project's own parameters with one line changed."""
    assert old in PARAMETERS
    return PARAMETERS.replace(old, new, 1).encode()


SPOILT = {
    "empty": b"",
    "a list": b"[1]",
    "no YAML": b"a: [",
    "not UTF-8": b"\xff",
    "no mapping": b"survey: 3",
    "no survey": b"grid: {}",
    "a repeated key": changed("  data_root: data\n", "  data_root: data\n  data_root: elsewhere\n"),
    "an unknown key": changed("  data_root: data\n", "  data_root: data\n  dataroot: elsewhere\n"),
    "a missing key": changed("  data_root: data\n", ""),
    "a wrong type": changed("  data_root: data\n", "  data_root: 3\n"),
    "an alias": changed("  data_root: data\n", "  data_root: &there data\n  name: *there\n"),
    "a byte order mark": b"\xef\xbb\xbf" + PARAMETERS.encode(),
    "a finder's name": changed("\naudited:\n", "\naudited:\n- ../elsewhere\n"),
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with a notebook's folder below it, which is the working directory."""
    (tmp_path / "project" / "notes").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project" / "notes")
    return tmp_path / "project"


def said(call: Callable[[], object]) -> str:
    with pytest.raises(ParameterError) as refused:
        call()
    return str(refused.value)


@pytest.mark.parametrize("content", SPOILT.values(), ids=SPOILT)
def test_parameters_that_dhs_refuses_are_refused_with_its_sentence(project: Path, content: bytes) -> None:
    (project / "params.yaml").write_bytes(content)
    found = {said(call) for call in (lambda: lake.read("gates"), lambda: lake.query("select 1"), lake.spark)}
    error = CliRunner().invoke(cli.dhs, ["query", "select 1"]).exception  # makes the project the working directory
    assert isinstance(error, ParameterError)
    assert {text.replace(f"{project}/", "") for text in found} == {str(error)}


def test_a_notebook_reads_where_dhs_reads(project: Path) -> None:
    (project / "params.yaml").write_bytes(changed("  data_root: data\n", "  data_root: held/here\n"))
    survey = params.load(project).survey
    assert api._place(None) == DataRoot(project / "held" / "here", None, survey.name)
    assert params.load(project).data == api._place(None)


def test_a_project_without_resolved_parameters_does_not_lead_to_the_one_above_it(project: Path) -> None:
    (project.parent / "params.yaml").write_text(PARAMETERS)
    (project / "params").mkdir()
    (project / "params" / "base.yaml").write_text("{}\n")
    assert "run `dhs params use demo`" in said(lambda: lake.read("gates"))


def test_a_named_folder_needs_no_parameters(project: Path) -> None:
    (project / "params.yaml").write_bytes(b"a: [")
    assert lake.query("select 1 as n", root=project / "data").to_pylist() == [{"n": 1}]
