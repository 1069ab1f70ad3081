"""ImageNet weights: used from the file where torch keeps them, fetched if it is missing, refused if it is another."""

from __future__ import annotations

import hashlib
import pickle
import socket
from collections.abc import Callable
from http.client import IncompleteRead
from pathlib import Path

import pytest
import torch
from torch import nn

from lake.errors import DataError
from modeling.config import TrainParams, resolve_generation
from modeling.networks import imagenet
from modeling.networks.factory import LensFinder, build
from modeling.sections import NetworkParams
from modeling.training.data import TrainingArrays
from modeling.training.run import STATE, open_run
from tests.modeling.conftest import SMALL

CURE = r"or set network\.pretrained: false \(`dhs train NAME network\.pretrained=false`\)"
DOCUMENTED = Path(__file__).resolve().parents[2] / "docs" / "training.md"
PLAIN = {"width": 16, "dropout": 0.1, "metadata_columns": []}
Place = Callable[[bytes], Path]


class Tiny(nn.Module):
    """Two convolutions in place of those of a ResNet-18."""

    def __init__(self, weights: None = None) -> None:
        super().__init__()
        self.conv1, self.layer1, self.fc = nn.Conv2d(3, 4, 7, 2, 3, bias=False), nn.Conv2d(4, 512, 3), nn.Linear(512, 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.fc(self.layer1(self.conv1(x)).mean((2, 3)))
        return features


@pytest.fixture(autouse=True)
def small_resnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.models.resnet18", Tiny)


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """A server that does not answer, and how long each call would have waited for it."""
    waited: list[float | None] = []

    def unreachable(*given: object, **named: object) -> None:
        waited.append(socket.getdefaulttimeout())
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    return waited


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Puts a file where torch keeps weights, under the name that it would be published with."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def placed(content: bytes) -> Path:
        digits = hashlib.sha256(content).hexdigest()[:8]
        file = imagenet.Published("resnet18", f"https://download.example/resnet18-{digits}.pth")
        monkeypatch.setattr(imagenet, "_published", lambda network: file)
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_bytes(content)
        return file.path

    return placed


@pytest.fixture
def weights(tmp_path: Path) -> bytes:
    """A file of weights for the small network."""
    torch.manual_seed(5)
    torch.save(Tiny().state_dict(), tmp_path / "saved")
    return (tmp_path / "saved").read_bytes()


def params(**changes: object) -> NetworkParams:
    return NetworkParams.load({"name": "resnet18", "pretrained": True, **PLAIN, **changes}, "network")


def convolution(network: LensFinder) -> torch.Tensor:
    """Weights of the second convolution, which are not adapted to the bands."""
    return network.features.get_submodule("layer1").get_parameter("weight")


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ("efficientnet_v2_s", "efficientnet_v2_s-dd5fe13b.pth"),
        ("resnet18", "resnet18-f37072fd.pth"),
        ("convnext_tiny", "convnext_tiny-983f1562.pth"),
    ],
)
def test_files_are_expected_below_torch_home_under_their_published_names(
    network: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / name
    assert f"<{imagenet._published(network).url}>" in DOCUMENTED.read_text(encoding="utf-8")
    with pytest.raises(
        DataError, match=rf"not at {path} and cannot be fetched .*: put https://.*/{name} there, {CURE}"
    ):
        imagenet.found(network)


def test_a_file_that_is_there_is_used_without_a_server(
    place: Place, weights: bytes, no_server: list[float | None]
) -> None:
    path = place(weights)
    assert imagenet.found("resnet18") == str(path)
    held = torch.load(path, weights_only=True)
    network = build(params(), 3)
    assert torch.equal(network.features.get_submodule("conv1").get_parameter("weight"), held["conv1.weight"])
    two = build(params(), 2)
    assert torch.equal(convolution(two), held["layer1.weight"])
    mean = held["conv1.weight"].mean(dim=1) * 1.5
    for band in range(2):
        assert torch.equal(two.features.get_submodule("conv1").get_parameter("weight")[:, band], mean)
    assert not torch.equal(convolution(build(params(pretrained=False), 3)), held["layer1.weight"])
    assert no_server == []


@pytest.mark.parametrize("spoil", [lambda file: file[:-1000], lambda file: file + b"\0", lambda file: b""])
def test_a_file_of_other_bytes_is_refused(place: Place, weights: bytes, spoil: Callable[[bytes], bytes]) -> None:
    path = place(weights)
    path.write_bytes(spoil(weights))
    sentence = rf"{path} is not the published file .*: put https://download\.example/{path.name} in its place, {CURE}"
    for look in (imagenet.found, imagenet.weights):
        with pytest.raises(DataError, match=sentence):
            look("resnet18")


def test_nothing_in_a_file_is_executed(place: Place, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (str(tmp_path / "executed"),)

    path = place(pickle.dumps(Hostile(), protocol=2))
    with pytest.raises(DataError, match=f"{path} is not a file of weights: put https://"):
        imagenet.weights("resnet18")
    assert not (tmp_path / "executed").exists()


def test_a_missing_file_is_fetched_and_checked(place: Place, weights: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place(weights)
    path.unlink()
    asked: list[tuple[str, str]] = []

    def fetch(url: str, to: str, digits: str) -> None:
        asked.append((url, digits))
        Path(to).write_bytes(weights)

    monkeypatch.setattr("torch.hub.download_url_to_file", fetch)
    assert imagenet.weights("resnet18").keys() == torch.load(path, weights_only=True).keys()
    assert asked == [(f"https://download.example/{path.name}", path.stem[-8:])]


@pytest.mark.parametrize(
    "error", [OSError("no route to host"), RuntimeError("invalid hash value"), IncompleteRead(b""), TimeoutError()]
)
def test_weights_that_cannot_be_fetched_are_named_with_the_cure(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    waited: list[float | None] = []

    def unreachable(*given: object) -> None:
        waited.append(socket.getdefaulttimeout())
        raise error

    path = place(b"")
    path.unlink()
    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    with pytest.raises(DataError, match=rf"not at {path} and cannot be fetched .*: put https://.* there, {CURE}"):
        build(params(), 3)
    assert waited == [60.0], "a silent server is not waited for for ever"
    assert socket.getdefaulttimeout() is None


def test_only_a_fresh_run_needs_the_weights(
    place: Place, weights: bytes, tmp_path: Path, splits: tuple[TrainingArrays, TrainingArrays]
) -> None:
    """A run that goes on, or that starts from another generation, has other weights to start from."""
    path, changes = place(weights), {**SMALL, "network": {"name": "resnet18", "pretrained": True}}
    training = splits[0]

    def opened(work: str, init: str | None, start: dict[str, torch.Tensor] | None) -> LensFinder:
        wanted: TrainParams = resolve_generation("demo1", {**changes, "init": init})
        run = open_run(wanted, training, tmp_path / work, start)
        run.save()
        return run.state.network

    first = opened("work", None, None)
    assert torch.equal(convolution(first), torch.load(path, weights_only=True)["layer1.weight"])
    path.unlink()
    assert (tmp_path / "work" / STATE).exists()
    assert torch.equal(convolution(opened("work", None, None)), convolution(first))
    start = {name: value + 1 for name, value in first.state_dict().items()}
    assert torch.equal(convolution(opened("other", "gen1", start)), start["features.layer1.weight"])
    with pytest.raises(DataError, match="cannot be fetched"):
        opened("new", None, None)


@pytest.mark.parametrize("name", ["pixelnet_small", "bottlenecked_resnet"])
def test_networks_that_nobody_trained_on_imagenet_cannot_start_from_it(name: str) -> None:
    with pytest.raises(ValueError, match=rf"'network\.pretrained' must be false for {name}, which has no ImageNet"):
        params(name=name)
    assert isinstance(build(params(name=name, pretrained=False), 3), nn.Module)
