"""Checkpoint folders that hold anything: refused in a sentence, never executed, never allocated as they declare."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lake.errors import DataError, ParameterError
from modeling.networks.factory import restored
from modeling.scoring.checkpoint import Checkpoint
from modeling.scoring.scorer import load_scorer
from tests.modeling.checkpoints import reseal

SIZES = (0, 1, 7, 2**20, 2**31, 2**40, 2**63, 2**64 - 1)
"""Absurd lengths of a header."""


@pytest.fixture
def folder(tmp_path: Path, trained: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "demo1"))


def header(content: bytes) -> dict[str, Any]:
    (size,) = struct.unpack("<Q", content[:8])
    found: dict[str, Any] = json.loads(content[8 : 8 + size])
    return found


def with_header(content: bytes, values: object) -> bytes:
    (size,) = struct.unpack("<Q", content[:8])
    text = values if isinstance(values, bytes) else json.dumps(values).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


def declared(content: bytes, **changes: Any) -> bytes:
    values = header(content)
    name = next(key for key in values if key.startswith("ema."))
    return with_header(content, values | {name: values[name] | changes})


SAFETENSORS: dict[str, Callable[[bytes], bytes]] = {
    **{f"header of {size} bytes": lambda c, size=size: struct.pack("<Q", size) + c[8:] for size in SIZES},  # type: ignore[misc]
    "empty": lambda c: b"",
    "cut in the header": lambda c: c[:100],
    "cut in the tensors": lambda c: c[:-1000],
    "tensor of a terabyte": lambda c: declared(c, shape=[2**40]),
    "product that overflows": lambda c: declared(c, shape=[2**33, 2**33]),
    "negative side": lambda c: declared(c, shape=[-1]),
    "offsets backwards": lambda c: declared(c, data_offsets=[64, 0]),
    "offsets beyond the end": lambda c: declared(c, data_offsets=[0, 2**50]),
    "unknown type": lambda c: declared(c, dtype="F1024"),
    "counters that are no JSON": lambda c: with_header(c, header(c) | {"__metadata__": {"darkhaloscope": "{"}}),
    "no tensors": lambda c: with_header(c, {}),
    "nested without end": lambda c: with_header(c, b"[" * 100_000),
}


@pytest.mark.parametrize("kind", SAFETENSORS)
def test_weights_that_lie_are_refused(folder: Path, kind: str) -> None:
    path = folder / "best.safetensors"
    path.write_bytes(SAFETENSORS[kind](path.read_bytes()))
    reseal(folder)
    with pytest.raises(DataError, match=r"best\.safetensors (is not a safetensors file|does not contain a network)"):
        load_scorer(folder)


CARDS: dict[str, Callable[[bytes], bytes]] = {
    "merge conflict": lambda c: b"<<<<<<< HEAD\n" + c + b"=======\n" + c + b">>>>>>> other\n",
    "empty": lambda c: b"",
    "list": lambda c: b"[1]",
    "cut": lambda c: c[: len(c) // 2],
    "UTF-16": lambda c: c.decode().encode("utf-16"),
    "byte order mark": lambda c: b"\xef\xbb\xbf" + c,
    "nested without end": lambda c: b"[" * 200_000,
    "number of 10,000 digits": lambda c: c.replace(b'"epochs_run":', b'"epochs_run":' + b"9" * 10_000),
    "not a number": lambda c: c.replace(b'"epochs_run":3', b'"epochs_run":NaN'),
    "infinite": lambda c: c.replace(b'"epochs_run":3', b'"epochs_run":Infinity'),
    "key twice": lambda c: c.replace(b'"epochs_run":3', b'"epochs_run":3,"epochs_run":3'),
    "too long": lambda c: c + b" " * 2**24,
}


@pytest.mark.parametrize("kind", CARDS)
def test_cards_that_are_no_json_object_are_refused(folder: Path, kind: str) -> None:
    reseal(folder)
    path = folder / "checkpoint.json"
    whole = path.read_bytes()
    path.write_bytes(CARDS[kind](whole))
    assert path.read_bytes() != whole
    with pytest.raises(DataError, match=r"checkpoint\.json cannot be read as a checkpoint: .*run `dhs train demo1`"):
        Checkpoint.load(folder)


@pytest.mark.parametrize("name", ["checkpoint.json", "best.safetensors", "seen.parquet", "epochs.json"])
def test_fifos_folders_and_absent_files_are_refused_at_once(folder: Path, name: str) -> None:
    path = folder / name
    path.unlink()
    for make in (None, os.mkfifo, os.mkdir):
        if make:
            make(path)
        with pytest.raises(DataError, match=f"{name} (cannot be read as a checkpoint|was altered)"):
            Checkpoint.load(folder)
        if make is os.mkfifo:
            path.unlink()


def test_a_list_of_galaxies_that_is_none_is_refused(folder: Path) -> None:
    (folder / "seen.parquet").write_bytes(b"PAR1" + b"\0" * 100 + b"PAR1")
    reseal(folder)
    with pytest.raises(DataError, match=r"seen\.parquet is not a list of galaxies"):
        Checkpoint.load(folder).seen()


def test_a_network_of_absurd_width_is_never_allocated(folder: Path) -> None:
    checkpoint = Checkpoint.load(folder)
    for width in (10**9, 10**30):
        network = checkpoint.card.config.network.model_copy(update={"width": width})
        with pytest.raises(DataError, match=rf"do not fit network pixelnet_small of width {width}"):
            restored(network, 3, checkpoint.weights())


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A file with a few bytes changed, most of them near its start, or cut, or doubled."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 2, 8))):
        place = rng.randrange(min(len(changed), rng.choice((8, 64, 4096, len(changed)))))
        changed[place] = rng.randrange(256)
    if rng.random() < 0.2:
        changed = changed[: rng.randrange(len(changed))]
    return bytes(changed)


def fuzz(folder: Path, rounds: int) -> list[str]:
    """Mutate and load; what the refusals say. Any other error is one of the test."""
    rng, refused = random.Random(rounds), []
    names = ("checkpoint.json", "best.safetensors", "seen.parquet")
    whole = {name: (folder / name).read_bytes() for name in names}
    for _ in range(rounds):
        name = rng.choice(names)
        (folder / name).write_bytes(mutated(whole[name], rng))
        if name != "checkpoint.json":
            reseal(folder)
        try:
            Checkpoint.load(folder).seen()
            load_scorer(folder)
        except (DataError, ParameterError) as error:
            refused.append(str(error))
        for each, content in whole.items():
            (folder / each).write_bytes(content)
    return refused


def test_mutated_folders_are_refused_in_a_sentence(folder: Path) -> None:
    said = fuzz(folder, 120)
    assert len(said) > 60
    assert not [text for text in said if "\n" in text]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_mutated_folders_are_refused_in_a_sentence(folder: Path) -> None:
    said = fuzz(folder, 4_000)
    assert len(said) > 2_000
    assert not [text for text in said if "\n" in text]
