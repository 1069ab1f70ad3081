"""Names of finders are refused where they enter, and reach no shell where DVC reads params.yaml by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lake import yamltext
from lake.errors import ParameterError
from lake.names import checked_name
from lake.root import DataRoot
from pipeline import wiring
from pipeline.cli import dhs
from pipeline.project import params
from tests.pipeline.checkout import PROJECT

SHELL_WORDS = ("x;touch hacked", "$(touch hacked)", "`touch hacked`", "a\ntouch hacked", "'; touch hacked; '")
NO_NAMES = (*SHELL_WORDS, "../../keep", "/keep", "-n", "_a", ".a", "", "a b", "é", "a" * 65, "a\n", 7, None, {"a": 1})
PER_FINDER = {name: body for name, body in wiring.stages(PROJECT).items() if "DVC_STAGE" in body["cmd"]}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params").mkdir()
    for name in ("base", "demo"):
        (tmp_path / "params" / f"{name}.yaml").write_text((PROJECT / "params" / f"{name}.yaml").read_text())
    (tmp_path / "params.yaml").write_text((PROJECT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, **changes: object) -> None:
    path.write_text(yamltext.text({**yamltext.values(path.read_text()), **changes}))


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_a_path_or_a_command_cannot_hold_is_refused_wherever_it_enters(project: Path, name: object) -> None:
    with pytest.raises(ParameterError, match="'generation' must be up to 64 letters, digits, '-' and '_'"):
        DataRoot.of("data").grid(name)  # type: ignore[arg-type]
    write(project / "params.yaml", audited=["demo1", name])
    with pytest.raises(ParameterError, match="'audited' must be up to 64 letters"):
        params.load(project)
    write(project / "params" / "demo.yaml", audited=[name])
    with pytest.raises(ParameterError, match="'audited' must be up to 64 letters"):
        params.resolve(project, "demo")


@pytest.mark.parametrize("name", ["../x", "a b", "x;touch hacked", "a\n", ""])
def test_names_of_manifests_are_checked_too(project: Path, name: str) -> None:
    demo = project / "params" / "demo.yaml"
    before = demo.read_text()
    write(demo, survey={**yamltext.values(before)["survey"], "audit_manifest": name})
    with pytest.raises(ParameterError, match=r"'survey.audit_manifest' must be a string of the form"):
        params.resolve(project, "demo")
    demo.write_text(before)
    write(demo, manifest={"manifests": {name: {"merge_test_into_val": False}}})
    with pytest.raises(ParameterError, match=r"(?s)'manifest.manifests..*' must be a string of the form"):
        params.resolve(project, "demo")


@pytest.mark.parametrize("name", ["demo1", "gen5a", "sim-gen3", "resnet18_baseline_v1", "7", "a" * 64])
def test_names_of_today_pass(name: str) -> None:
    assert checked_name(name, "generation") == name


def test_dhs_run_refuses_the_name_that_dvc_gives_it(project: Path) -> None:
    for name in SHELL_WORDS:
        found = CliRunner().invoke(dhs, ["run", "grid", "--named", f"grid@{name}"]).exception
        assert isinstance(found, ParameterError)
        assert str(found).startswith("'generation' must be up to 64 letters")
    write(project / "params.yaml", train={"x;touch hacked": {}})
    found = CliRunner().invoke(dhs, ["run", "pool"]).exception
    assert "'train' must be up to 64 letters" in str(found)


def test_no_command_holds_what_params_yaml_says() -> None:
    assert set(PER_FINDER) >= {"train", "evaluate", "grid", "ingest", "completeness", "diagnose"}
    for name, body in wiring.stages(PROJECT).items():
        assert "${" not in body["cmd"], f"stage {name} gives a parameter to the shell"


def test_plain_dvc_hands_a_name_on_as_it_is(whole_stage: None, project: Path) -> None:
    """The stages' own commands on a params.yaml that was edited by hand, with a ``dhs`` that notes its arguments."""
    (project / "bin").mkdir()
    stand_in = project / "bin" / "dhs"
    stand_in.write_text(
        f"#!{sys.executable}\nimport json, sys\nopen('got', 'a').write(json.dumps(sys.argv[1:]) + '\\n')\nsys.exit(1)\n"
    )
    stand_in.chmod(0o755)
    (project / ".dvc").mkdir()
    (project / ".dvc" / "config").write_text("[core]\n  no_scm = true\n  analytics = false\n")
    (project / "keep").mkdir()
    parts = {part: [x for x in PER_FINDER["grid"][part] if "item.generation" in str(x)] for part in ("deps", "outs")}
    grid = {"matrix": {"generation": "${audited}"}, "cmd": PER_FINDER["grid"]["cmd"], **parts}
    (project / "dvc.yaml").write_text(yamltext.text({"stages": {"grid": grid}}))
    names = [name for name in SHELL_WORDS if "\n" not in name]
    for name in names:
        (project / "data" / "checkpoints" / name).mkdir(parents=True)
    environment = {**os.environ, "PATH": f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def repro(audited: list[str]) -> None:
        (project / "params.yaml").write_text(yamltext.text({"audited": audited}))
        command = [sys.executable, "-m", "dvc", "repro", "--keep-going"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode != 0

    repro(names)
    got = [json.loads(line) for line in (project / "got").read_text().splitlines()]
    assert sorted(got) == sorted(["run", "grid", "--named", f"grid@{name}"] for name in names)
    repro(["../../keep"])
    assert not (project / "hacked").exists()
    assert (project / "keep").is_dir(), "DVC takes a path that leads out of data/grid for one of its outputs"
