"""The shipped generations."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lake.errors import ParameterError
from modeling.config import TrainParams, generation_values, generations, resolve_generation
from tests.modeling import generationtable

HISTORICAL = {
    "gen1": ("efficientnet_v2_s", 3.88e-4, 160, (20, 32), "step", 64, 512, "bce"),
    "gen2": ("efficientnet_v2_s", 3.88e-4, 160, (20, 32), "step", 64, 512, "bce"),
    "gen3": ("efficientnet_v2_s", 3.88e-4, 160, (20, 32), "cosine", 64, 512, "bce"),
    "gen4": ("efficientnet_v2_s", 5e-5, 60, (20, 32), "cosine", 64, 512, "bce"),
    "gen5a": ("efficientnet_v2_s", 3.88e-4, 160, "auto", "step", 64, 512, "bce"),
    "gen5b": ("efficientnet_v2_s", 5e-5, 60, "auto", "cosine", 64, 512, "bce"),
    "gen5c": ("efficientnet_v2_s", 3.88e-4, 160, "auto", "step", 64, 512, "weighted"),
    "resnet-gen1": ("bottlenecked_resnet", 5e-4, 160, (20, 32), "step", 128, 2048, "bce"),
    "resnet-gen2": ("bottlenecked_resnet", 5e-4, 160, "auto", "step", 128, 2048, "bce"),
    "resnet18": ("resnet18", 5e-4, 160, (20, 32), "step", 64, 512, "bce"),
    "resnet18_baseline_v1": ("resnet18", 3e-4, 50, (20, 32), "cosine", 256, 256, "weighted"),
}


def test_every_generation_resolves() -> None:
    for name in generations():
        params = resolve_generation(name)
        assert params.generation == name
        assert params.description


@pytest.mark.parametrize("name", HISTORICAL)
def test_historical_generations_follow_the_table(name: str) -> None:
    p = resolve_generation(name)
    got = (
        p.network.name,
        p.optimiser.lr,
        p.loop.epochs,
        p.preprocessing.annulus,
        p.schedule.kind,
        p.loop.micro_batch,
        p.loop.batch,
        p.loss.kind,
    )
    assert got == HISTORICAL[name]


SIMULATED = {
    "R0": ("resnet18", 1e-4, 1e-4, 50, 10, "raw_robust", 128, "bce", 1.0, ()),
    "R1": ("resnet18", 1e-4, 1e-4, 50, 10, "raw_robust", 128, "bce", 1.0, ()),
    "R3": ("resnet18", 1e-4, 1e-4, 50, 0, "raw_robust", 128, "bce", 1.0, ()),
    "R4": ("resnet18", 1e-4, 1e-4, 50, 0, "raw_robust", 128, "bce", 5.0, ()),
    "R5": ("resnet18", 1e-4, 1e-4, 50, 0, "residual", 128, "bce", 1.0, ()),
    "R6": ("resnet18", 1e-4, 1e-4, 50, 0, "residual", 128, "bce", 5.0, ()),
    "sim-gen1": ("resnet18_small", 3e-4, 1e-4, 10, 0, "full", 32, "bce", 1.0, ()),
    "sim-gen2": ("convnext_tiny", 3e-4, 1e-2, 50, 5, "full", 512, "bce", 1.0, ()),
    "sim-gen3": ("convnext_tiny", 3e-4, 1e-2, 50, 5, "raw_robust", 256, "focal", 1.0, ("psfsize_r", "psfdepth_r")),
    "sim-gen4": ("convnext_tiny", 3e-4, 1e-2, 50, 5, "raw_robust", 256, "focal", 5.0, ("psfsize_r", "psfdepth_r")),
    "sim-gen5": ("convnext_tiny", 3e-4, 1e-2, 50, 5, "raw_robust", 256, "focal", 5.0, ("psfsize_r", "psfdepth_r")),
}


@pytest.mark.parametrize("name", SIMULATED)
def test_generations_on_simulated_stamps_follow_the_table(name: str) -> None:
    p = resolve_generation(name)
    shape = (p.network.name, p.optimiser.lr, p.optimiser.weight_decay, p.loop.epochs, p.loop.patience)
    data = (p.preprocessing.kind, p.loop.batch, p.loss.kind, p.loss.hard_negative_weight, p.network.metadata_columns)
    assert (*shape, *data) == SIMULATED[name]
    assert (p.augmentation.core_dropout > 0) == (name == "R1")


@pytest.mark.parametrize("name", ["gen5a", "gen5a-audit"])
def test_a_fast_generation_differs_in_its_micro_batch_alone(name: str) -> None:
    slow, fast = (generation_values(each) for each in (name, f"{name}-fast"))
    assert (slow["loop"]["micro_batch"], fast["loop"]["micro_batch"]) == (64, 512)
    for each in (slow, fast):
        del each["loop"]["micro_batch"], each["description"], each["generation"], each["reference"]
    assert slow == fast


def test_reference_figures_are_not_inherited() -> None:
    assert resolve_generation("gen5b").reference.best_val_auc is None
    assert resolve_generation("gen2").reference.best_val_auc == 0.9915
    assert resolve_generation("demo2").reference is None


def test_overrides_nested_and_dotted() -> None:
    params = resolve_generation("demo1", {"loop.epochs": 2, "network": {"width": 8}})
    assert (params.loop.epochs, params.network.width) == (2, 8)


def test_unknown_keys_and_generations_are_errors() -> None:
    with pytest.raises(ParameterError, match=r"'train.demo1.loop.epoch' must be one of the known parameters"):
        resolve_generation("demo1", {"loop.epoch": 2})
    with pytest.raises(ParameterError, match="'generation' must be one of"):
        resolve_generation("gen9")


def test_label_leaking_metadata_is_refused() -> None:
    sentence = (
        "^'train.sim-gen3.network.metadata_columns' must be psfsize_<band> and psfdepth_<band> alone, as others may "
        r"reveal the label, got \['psfsize_r', 'theta_e_arcsec'\]$"
    )
    with pytest.raises(ParameterError, match=sentence):
        resolve_generation("sim-gen3", {"network.metadata_columns": ["psfsize_r", "theta_e_arcsec"]})


def test_values_survive_yaml() -> None:
    params = resolve_generation("demo2")
    again = yaml.safe_load(yaml.safe_dump(params.model_dump(mode="json")))
    assert TrainParams.load(again, "train.demo2") == params
    assert generation_values("demo2")["generation"] == "demo2"


def test_science_digest_ignores_where_it_runs() -> None:
    base = resolve_generation("demo1")
    assert base.science_digest() == resolve_generation("demo1", {"execution.device": "cpu"}).science_digest()
    assert base.science_digest() != resolve_generation("demo1", {"seed": 43}).science_digest()


def test_batch_must_be_whole_micro_batches() -> None:
    sentence = r"^'train.demo1.loop.micro_batch' must be a divisor of batch \(100\), got 64$"
    with pytest.raises(ParameterError, match=sentence):
        resolve_generation("demo1", {"loop.batch": 100})


def test_the_documented_table_is_the_one_that_is_trained() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "training.md"
    assert generationtable.markdown() in page.read_text(encoding="utf-8")
