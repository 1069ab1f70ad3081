"""Weights from elsewhere: read without running anything, under this project's names, or refused in a sentence."""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lake.errors import DataError
from modeling.config import TrainParams, resolve_generation
from modeling.networks.factory import build, restored
from modeling.networks.preprocess import normalise
from modeling.scoring.checkpoint import Checkpoint
from modeling.scoring.imported import import_weights, read_weights
from modeling.scoring.scorer import CheckpointScorer
from tests.fulldisk import no_file_over
from tests.modeling.conftest import ring_stamps

PIXELS, BANDS = 65, ("g", "r", "z")


@pytest.fixture(scope="module")
def like() -> TrainParams:
    changes = {"generation": "ref", "network.pretrained": False, "execution": {"threads": 1, "dtype": "fp32"}}
    return resolve_generation("resnet18", changes)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """As the reference builds it: torchvision's network with a linear layer of one output at its end."""
    import torchvision  # takes a second: by the process that needs it, not by all that collect

    torch.manual_seed(1)
    found = torchvision.models.resnet18(weights=None)
    found.fc = torch.nn.Linear(512, 1)
    return found.eval()


@pytest.fixture(scope="module")
def small_like() -> TrainParams:
    changes = {"generation": "ref", "network.width": 8, "execution": {"threads": 1, "dtype": "fp32"}}
    return resolve_generation("resnet-gen1", changes)


@pytest.fixture(scope="module")
def small_network(small_like: TrainParams) -> torch.nn.Module:
    """A network of this project, with a thousandth of the weights, where it does not matter whose they are."""
    torch.manual_seed(1)
    return build(small_like.network, len(BANDS)).eval()


def saved_by_training(network: torch.nn.Module, path: Path) -> Path:
    """What a training program leaves: weights, optimiser, random states, metrics, configuration."""
    optimiser = torch.optim.AdamW(network.parameters())
    held = {
        "epoch": 19,
        "model_state_dict": {f"module.{name}": value for name, value in network.state_dict().items()},
        "optimizer_state_dict": optimiser.state_dict(),
        "rng": {"torch": torch.get_rng_state(), "numpy": np.random.default_rng(0).integers(9, size=4)},
        "best_auc": np.float64(0.9915),
        "config": {"lr": 3.88e-4, "annulus": [20, 32]},
    }
    torch.save(held, path)
    return path


@pytest.mark.usefixtures("whole_stage")
def test_a_reference_checkpoint_scores_as_its_own_network_does(
    tmp_path: Path, like: TrainParams, network: torch.nn.Module
) -> None:
    path = saved_by_training(network, tmp_path / "best.pt")
    made = import_weights(path, like, BANDS, PIXELS, tmp_path / "ref", {})
    card = made.card
    assert (card.best_epoch, card.best_val_auc, card.preprocessing.annulus) == (19, 0.9915, (20.0, 32.0))
    assert str(card.imported_from).startswith("best.pt, SHA-256 ")
    assert not card.seen_known
    stamps, _ = ring_stamps(6, 3, PIXELS)
    with torch.inference_mode():
        expected = network(normalise(torch.from_numpy(stamps), card.preprocessing))[:, 0].numpy()
    scorer = CheckpointScorer(Checkpoint.load(tmp_path / "ref"))
    np.testing.assert_allclose(scorer.score(stamps), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("whole_stage")
def test_files_of_weights_alone_give_the_same_checkpoint(
    tmp_path: Path, like: TrainParams, network: torch.nn.Module
) -> None:
    torch.save(network.state_dict(), tmp_path / "plain.pt")
    save_file(network.state_dict(), tmp_path / "plain.safetensors")
    named = {
        f"features.{n}" if not n.startswith("fc") else f"head.1{n[2:]}": v for n, v in network.state_dict().items()
    }
    torch.save({"state_dict": named}, tmp_path / "ours.pt")
    found = {
        import_weights(
            tmp_path / name, like, BANDS, PIXELS, tmp_path / Path(name).name.replace(".", "-"), {}
        ).card.checkpoint_id
        for name in ("plain.pt", "plain.safetensors", "ours.pt")
    }
    assert len(found) == 1
    assert read_weights(tmp_path / "plain.pt").val_auc is None


def test_a_full_disk_leaves_no_checkpoint(
    tmp_path: Path, small_like: TrainParams, small_network: torch.nn.Module
) -> None:
    torch.save(small_network.state_dict(), tmp_path / "plain.pt")

    def bring() -> None:
        with no_file_over(1 << 14):
            import_weights(tmp_path / "plain.pt", small_like, BANDS, PIXELS, tmp_path / "mine", {})

    with pytest.raises(OSError, match=f"File too large: '{tmp_path / 'mine'}'"):
        bring()
    assert [path.name for path in tmp_path.iterdir()] == ["plain.pt"]


@pytest.mark.parametrize("name", ["efficientnet_v2_s", "convnext_tiny"])
def test_torchvisions_names_of_other_networks_are_known(name: str) -> None:
    import torchvision

    from modeling.scoring.imported import named_as_here

    theirs = getattr(torchvision.models, name)(weights=None, num_classes=1)
    params = resolve_generation("gen1", {"network": {"name": name, "pretrained": False}}).network
    ours = restored(params, 3, named_as_here(theirs.state_dict()))
    x = torch.randn(2, 3, 64, 64)  # of 32 one pixel would be left to pool
    with torch.inference_mode():
        assert torch.allclose(ours.eval()(x), theirs.eval()(x)[:, 0], atol=1e-5)


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("kind", ["pickle", "torch", "torch beside weights", "old torch", "module"])
def test_a_file_that_executes_code_is_refused_and_never_run(
    tmp_path: Path, like: TrainParams, network: torch.nn.Module, kind: str
) -> None:
    mark, path = tmp_path / "ran", tmp_path / "best.pt"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Evil(mark)))
    elif kind == "module":
        torch.save(network, path)
    else:
        held = {"state_dict": network.state_dict(), "args": Evil(mark)} if "beside" in kind else Evil(mark)
        torch.save(held, path, _use_new_zipfile_serialization=kind != "old torch")
    named = "torchvision.models.resnet.ResNet" if kind == "module" else f"{os.name}.system"
    why = (
        f"reading it would run code that it names ({named})"
        if kind != "pickle"
        else f"it has pickle protocol {pickle.DEFAULT_PROTOCOL}, and PyTorch reads weights safely from protocol 2 alone"
    )
    refused = pytest.raises(DataError, match=re.escape(f"is not read: {why}; save model.state_dict()"))
    with refused as told, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        import_weights(path, like, BANDS, PIXELS, tmp_path / "ref", {})
    assert not heard, "the refusal is one sentence"
    assert "weights_only" not in str(told.value), "torch's own advice is to run the code"
    assert not mark.exists()
    assert not (tmp_path / "ref").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not a file of plain weights"),
        (b"\x80\x04 not a pickle", "not a file of plain weights"),
        (b"PK\x03\x04" + b"\0" * 200, "not a file of plain weights"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, like: TrainParams, content: bytes, sentence: str) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        import_weights(path, like, BANDS, PIXELS, tmp_path / "ref", {})


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [4, 5])
def test_weights_of_a_protocol_that_is_not_read_safely_are_refused_by_its_number(
    tmp_path: Path, small_network: torch.nn.Module, protocol: int, zipped: bool
) -> None:
    path = tmp_path / "best.pt"
    torch.save(small_network.state_dict(), path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    said = (
        f"it has pickle protocol {protocol}, .* from protocol 2 alone; save .* \\(without `pickle_protocol`\\) or saf"
    )
    with pytest.raises(DataError, match=said):
        read_weights(path)
    torch.save(small_network.state_dict(), path, _use_new_zipfile_serialization=zipped)
    assert read_weights(path).tensors


def test_weights_of_another_network_and_no_weights_are_refused(tmp_path: Path, like: TrainParams) -> None:
    import torchvision

    path = tmp_path / "best.pt"
    for held, sentence in (
        ({"epoch": 3, "model_state_dict": {}}, "holds no weights"),
        ([1, 2], "holds a list instead of weights"),
        (torchvision.models.resnet18(weights=None).state_dict(), "0 linear layers with one output"),
        (torchvision.models.resnet34(weights=None, num_classes=1).state_dict(), "do not fit network resnet18"),
    ):
        torch.save(held, path)
        with pytest.raises(DataError, match=sentence):
            import_weights(path, like, BANDS, PIXELS, tmp_path / "ref", {})
    assert not (tmp_path / "ref").exists()


def first_weight(network: torch.nn.Module, ending: str) -> str:
    return next(name for name in network.state_dict() if name.endswith(ending))


@pytest.mark.parametrize(
    ("made", "ending", "sentence"),
    [
        (lambda value: value * float("nan"), "weight", "is not finite"),
        (lambda value: value.double() + 1e300, "weight", "is not finite"),
        (lambda value: -value - 1, "running_var", "negative variance"),
        (lambda value: value.to(torch.complex64), "weight", "not an array of real numbers"),
        (lambda value: value.to("meta"), "weight", "not an array of real numbers"),
        (lambda value: torch.zeros(1).expand(10**7, 10**7), "weight", "do not fit network bottlenecked_resnet"),
    ],
)
def test_weights_that_are_no_finite_arrays_or_claim_terabytes_are_refused(
    tmp_path: Path, small_like: TrainParams, small_network: torch.nn.Module, made: Any, ending: str, sentence: str
) -> None:
    held = small_network.state_dict()
    name = first_weight(small_network, ending)
    torch.save({**held, name: made(held[name])}, tmp_path / "best.pt")
    with pytest.raises(DataError, match=sentence):
        import_weights(tmp_path / "best.pt", small_like, BANDS, PIXELS, tmp_path / "ref", {})
    assert not (tmp_path / "ref").exists()


@pytest.mark.usefixtures("whole_stage")
def test_parameters_are_weights_and_what_cannot_be_an_epoch_or_an_auc_is_not_believed(
    tmp_path: Path, small_like: TrainParams, small_network: torch.nn.Module
) -> None:
    held = {**small_network.state_dict(), **dict(small_network.named_parameters())}
    for number, (epoch, auc) in enumerate([(True, float("nan")), (10**30, 7.5), (-1, -0.5)]):
        torch.save({"model_state_dict": held, "epoch": epoch, "best_val_auc": auc}, tmp_path / "best.pt")
        card = import_weights(tmp_path / "best.pt", small_like, BANDS, PIXELS, tmp_path / f"ref{number}", {}).card
        assert (card.best_epoch, card.best_val_auc) == (0, None)


def test_a_file_of_many_entries_without_weights_is_refused_in_one_short_sentence(
    tmp_path: Path, like: TrainParams
) -> None:
    torch.save({f"entry\n{number}": number for number in range(1000)}, tmp_path / "best.pt")
    with pytest.raises(DataError, match=r"none of its entries \('entry\\n0', .*, \.\.\.\)") as refused:
        import_weights(tmp_path / "best.pt", like, BANDS, PIXELS, tmp_path / "ref", {})
    assert len(str(refused.value)) < 400
