"""The stages' names and dependencies stand in several places; these tests hold them together."""

from pathlib import Path

import pytest

from lake import yamltext
from pipeline import datamodel, wiring
from pipeline.project import params
from pipeline.project.codecards import PACKAGES
from pipeline.stage import stage_names

ROOT = Path(__file__).resolve().parents[2]
STAGES = wiring.stages(ROOT)


def test_a_stage_has_one_name_everywhere() -> None:
    entries = yamltext.values((ROOT / "MLproject").read_text())["entry_points"]
    assert set(STAGES) == set(stage_names()) == set(entries)
    for name, body in STAGES.items():
        assert body["cmd"].split()[:3] == ["dhs", "run", name]
        verb = ["dhs", "train", "{generation}"] if name == "train" else ["dhs", "run", name]
        assert entries[name]["command"].split()[:3] == verb, "training brings what it starts from"


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_depends_on_its_code_card_and_on_no_other_code(stage: str) -> None:
    of_code = [d for d in STAGES[stage]["deps"] if d.split("/")[0] in PACKAGES or d.startswith("data/code/")]
    assert of_code == {"code": sorted(PACKAGES), "listing": []}.get(stage, [f"data/code/{stage}.json"])


@pytest.mark.parametrize("stage", sorted(set(STAGES) - {"code"}))
def test_a_stage_depends_on_what_it_is_given_of_the_parameters(stage: str) -> None:
    own = {"train": ["train.${key}.parameters"], **{name: [name] for name in params.SECTIONS}}.get(stage, [])
    assert STAGES[stage]["params"] == [*own, "survey"]


@pytest.mark.parametrize("stage", sorted(set(STAGES) - {"demo", "code", "listing"}))
def test_cards_come_with_pin_and_witness_and_outside_the_cache(stage: str) -> None:
    outs = [next(iter(out.items())) if isinstance(out, dict) else (out, {}) for out in STAGES[stage]["outs"]]
    paths = dict(outs)
    cards = [p for p in paths if p.startswith("data/cards/") and "/checks/" not in p and not p.endswith(".pin.json")]
    for card in cards:
        table, _, slice_name = Path(card).name.removesuffix(".json").partition(".")
        for path in (
            card,
            card.replace(".json", ".pin.json"),
            f"data/lake/{table}/_witness/{slice_name or 'whole'}.json",
        ):
            assert paths[path] == {"cache": False}, path


def test_the_table_names_of_cards_are_tables() -> None:
    from lake import tables

    for body in STAGES.values():
        for dependency in body["deps"]:
            if dependency.startswith("data/cards/"):
                assert Path(dependency).name.split(".")[0] in tables.names()


def test_generated_files_are_current() -> None:
    assert (ROOT / datamodel.PAGE).read_text() == datamodel.page(), "run `make deps`"
    assert (ROOT / wiring.MLPROJECT).read_text() == wiring.mlproject(ROOT), "run `make deps`"
