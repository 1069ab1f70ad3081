"""ImageNet weights as torchvision publishes them: looked for, fetched if they are missing, and checked."""

from __future__ import annotations

import hashlib
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError

import torch
from torch import Tensor

from lake.errors import DataError, one_line

PATIENCE_S = 60.0
"""How long to wait for the server to respond."""
LOOK_S = 10.0
"""How long a look whether it responds may take."""
_WITHOUT = "or set network.pretrained: false (`dhs train NAME network.pretrained=false`)"


@dataclass(frozen=True)
class Published:
    """The file of a network's weights."""

    network: str
    """Torchvision's name of the network."""
    url: str

    @property
    def path(self) -> Path:
        """Where torch keeps it: below TORCH_HOME, or else below ~/.cache/torch."""
        return Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(self.url).name

    @property
    def digits(self) -> str:
        """The first digits of its SHA-256, with which its name ends."""
        return self.path.stem.rpartition("-")[2]


def weights(network: str) -> dict[str, Tensor]:
    """The ImageNet weights of a network, by torchvision's name of it; fetched first if they are not here.

    Nothing in the file is executed. Raises DataError if they cannot be had, or are not the published ones.
    """
    file = _published(network)
    if not file.path.is_file():
        _fetch(file)
    return _read(file)


def found(network: str) -> str:
    """Where the weights are, or that they can be fetched; DataError if they cannot be had now."""
    file = _published(network)
    if file.path.is_file():
        _read(file)
        return str(file.path)
    with _reaching(file), urllib.request.urlopen(urllib.request.Request(file.url, method="HEAD"), timeout=LOOK_S):
        return f"to be fetched from {file.url}"


def is_here(network: str) -> bool:
    """Whether a file is where torch keeps these weights; :func:`weights` checks that it is the published one."""
    return _published(network).path.is_file()


def _published(network: str) -> Published:
    # Imported late: torchvision takes seconds.
    from torchvision.models import get_model_weights

    return Published(network, get_model_weights(network)["IMAGENET1K_V1"].url)


def _fetch(file: Published) -> None:
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE_S)
    try:
        with _reaching(file):
            file.path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(file.url, str(file.path), file.digits)
    finally:
        socket.setdefaulttimeout(patience)


@contextmanager
def _reaching(file: Published) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, HTTPException) as error:
        raise DataError(
            f"the ImageNet weights of {file.network} are not at {file.path} and cannot be fetched ({one_line(error)}): "
            f"put {file.url} there, {_WITHOUT}"
        ) from error


def _read(file: Published) -> dict[str, Tensor]:
    """The weights in a file that is here: torch itself checks only what it fetches, and would run code in the file."""
    try:
        with file.path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{file.path} cannot be read: {one_line(error)}") from error
    if not digest.startswith(file.digits):
        raise DataError(
            f"{file.path} is not the published file of ImageNet weights (its SHA-256 begins with "
            f"{digest[: len(file.digits)]}): put {file.url} in its place, {_WITHOUT}"
        )
    try:
        read: dict[str, Tensor] = torch.load(file.path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise DataError(f"{file.path} is not a file of weights: put {file.url} in its place, {_WITHOUT}") from error
    return read
