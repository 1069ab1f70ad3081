from pathlib import Path

import pytest

from lake import yamltext
from lake.errors import ParameterError
from pipeline.project import params, simulated
from pipeline.project.generations import Wanted, parameters_of
from tests.pipeline.checkout import PROJECT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for path in (PROJECT / "params").glob("*.yaml"):
        (tmp_path / "params").mkdir(exist_ok=True)
        (tmp_path / "params" / path.name).write_text(path.read_text())
    return tmp_path


def change(path: Path, section: str, **values: object) -> None:
    content = yamltext.values(path.read_text()) or {}
    content.setdefault(section, {}).update(values)
    path.write_text(yamltext.text(content))


@pytest.mark.parametrize("name", params.overlays(PROJECT))
def test_every_parameter_set_resolves_and_loads(project: Path, name: str) -> None:
    resolved = params.resolve(project, name)
    params.write(project, resolved, name)
    written = params.load(project)
    assert written.values == resolved
    for section in resolved:
        if section not in ("survey", "train", "audited", "simulated"):
            params.section(written, section)
    for generation in resolved["train"]:
        assert params.section(written, "train", generation).generation == generation  # type: ignore[attr-defined]


def test_simulated_stamps_are_stages_only_where_a_trained_generation_needs_them(project: Path) -> None:
    assert not any(params.resolve(project, "demo")["simulated"].values())
    needed = params.resolve(project, "simulated")["simulated"]
    names = {key: set(entries) for key, entries in needed.items()}
    assert names == {
        "plans": {"paired_small", "paired", "unpaired"},
        "sets": {"paired_small", "paired", "unpaired_gaussian", "unpaired"},
        "manifests": {
            "sim_paired", "sim_unpaired", "sim_unpaired_resolved", "paired_baseline", "unpaired_baseline",
        },
        "hard_negatives": {"demo_hard_negatives", "unpaired_hard_negatives"},
    }  # fmt: skip
    values = params.resolve(project, "demo")
    values["train"]["sim-gen4"] = {"parameters": {"manifest": "sim_unpaired_hard_negatives"}}
    hard = simulated.needed(values)
    assert (set(hard["hard_negatives"]), set(hard["manifests"])) == (
        {"sim_unpaired_hard_negatives"},
        {"sim_unpaired_resolved"},
    )


@pytest.mark.parametrize("name", ["demo", "simulated", "test"])
def test_the_demo_sky_is_rendered_with_one_configuration_a_galaxy(project: Path, name: str) -> None:
    """A generation on simulated stamps trains there in minutes; a survey's sets hold up to 73 for each host."""
    plans = params.resolve(project, name)["plan"]["plans"]
    assert {plan["configurations_per_galaxy"] for plan in plans.values()} == {1}
    assert params.resolve(project, "dr10")["plan"]["plans"]["unpaired"]["configurations_per_galaxy"] == 73


def test_stamps_of_real_galaxies_depend_on_their_bank(project: Path) -> None:
    values = params.resolve(project, "demo")
    values["train"] = {}
    values["stamp_manifest"]["made_anyway"] = ["sim_cosmos_sources", "sim_paired"]
    sets = simulated.needed(values)["sets"]
    assert {name: entry["bank"] for name, entry in sets.items()} == {
        "unpaired_cosmos": "data/bank.h5", "paired_small": "data/code/nothing.json",
    }  # fmt: skip


def test_a_manifest_made_anyway_must_be_known(project: Path) -> None:
    change(project / "params" / "demo.yaml", "stamp_manifest", made_anyway=["sim_pared"])
    with pytest.raises(ParameterError, match=r"'stamp_manifest\.made_anyway' must be one of sim_paired, .*'sim_pared'"):
        params.resolve(project, "demo")


def test_the_committed_parameters_are_the_demo() -> None:
    assert params.load(PROJECT).values == params.resolve(PROJECT, "demo"), "run `dhs params use demo`"


def test_an_unknown_key_is_named(project: Path) -> None:
    change(project / "params" / "demo.yaml", "pool", min_nobz=3)
    with pytest.raises(ParameterError, match=r"'pool.min_nobz' must be one of the known parameters \(.*min_nobs"):
        params.resolve(project, "demo")


@pytest.mark.parametrize(("head", "name"), [(None, "demo"), ("# mine", "NAME")], ids=["as written", "edited"])
def test_a_removed_parameter_comes_with_the_command_that_writes_the_file_anew(
    project: Path, head: str | None, name: str
) -> None:
    """Wherever it is: in a section, in a section of one, in a generation."""
    params.use(project, "demo")
    path = project / params.FILE
    first, _, rest = path.read_text().partition("\n")
    values = yamltext.values(rest)
    values["grid"]["device"] = values["survey"]["split"]["sead"] = 1
    values["train"]["demo1"]["parameters"]["loop"]["device"] = "cpu"
    path.write_text(f"{head or first}\n{yamltext.text(values)}")
    old, said = params.load(project), rf"parameters \(.*another version .*`dhs params use {name}` writes it anew"
    for given in (("grid",), ("survey",), ("train", "demo1")):
        with pytest.raises(ParameterError, match=said):
            params.section(old, *given)
    with pytest.raises(ParameterError, match=said):
        parameters_of(old, Wanted("demo1"))
    params.use(project, "demo")
    params.section(params.load(project), "grid")


def test_an_unknown_section_is_named(project: Path) -> None:
    change(project / "params" / "demo.yaml", "pol", min_nobs=3)
    with pytest.raises(ParameterError, match=r"'pol' must be a known section .*; did you mean 'pool'"):
        params.resolve(project, "demo")


def test_an_unknown_section_of_the_resolved_parameters_is_named(project: Path) -> None:
    params.use(project, "demo")
    params.load(project)
    change(project / params.FILE, "trails", experiments=1)
    said = r"'trails' must be a known section \(survey, .*did you mean 'trials'\? \(if another .*`dhs params use NAME`"
    with pytest.raises(ParameterError, match=said):
        params.load(project)
    params.use(project, "demo")
    assert params.load(project).values == params.resolve(project, "demo")


def test_an_unknown_set_names_the_known_ones(project: Path) -> None:
    with pytest.raises(ParameterError, match=r"'params' must be one of demo, .*test, got 'nope'"):
        params.resolve(project, "nope")


def test_a_folder_without_parameters_says_what_to_run(tmp_path: Path) -> None:
    words = rf"no params.yaml in {tmp_path} or above it: run `dhs params use demo` in the project's folder, or name it"
    with pytest.raises(ParameterError, match=words):
        params.find(tmp_path)
    with pytest.raises(ParameterError, match="run `dhs params use demo` in the project's folder"):
        params.load(tmp_path)


def test_a_generation_whose_ancestor_is_not_trained_is_refused(project: Path) -> None:
    content = yamltext.values((project / "params" / "demo.yaml").read_text())
    content["train"] = {"demo2": {}}
    (project / "params" / "demo.yaml").write_text(yamltext.text(content))
    with pytest.raises(ParameterError, match=r"'train.demo2.init' must be a generation that is trained too"):
        params.resolve(project, "demo")
