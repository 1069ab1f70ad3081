import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from lake import tables
from lake.errors import DataError, ShardError
from lake.root import DataRoot
from lake.store import writing
from lake.store.stamps import (
    HASHES,
    PLACE,
    SIMULATED_HASH,
    GrowingShard,
    StampStore,
    bucket_of,
    manifest_problems,
    shard_name,
    shard_problems,
    stamp_hash,
    write_shard,
)
from lake.store.writing import Provenance, Target


def stamps(n: int, pixels: int = 9) -> np.ndarray:
    return np.random.default_rng(n).normal(size=(n, 3, pixels, pixels)).astype(np.float32)


def rows(shards: list[int], places: list[int], of: list[np.ndarray], hashed: str = "sha256") -> pa.Table:
    """Rows of tables that name these stamps."""
    digests = [stamp_hash(of[shard][place], hashed) for shard, place in zip(shards, places, strict=True)]
    return pa.table({"shard": shards, "shard_row": places, hashed: digests})


def written(folder: Path) -> list[np.ndarray]:
    """Two shards."""
    made = [stamps(4), stamps(5)]
    for number, held in enumerate(made):
        write_shard(folder / shard_name(number), held, len(held), 9)
    return made


def test_store_returns_stamps_in_the_order_asked(tmp_path: Path) -> None:
    first, second = made = written(tmp_path)
    asked = rows([1, 0, 1, 0], [4, 0, 2, 3], made)
    wanted = np.stack([second[4], first[0], second[2], first[3]])
    assert np.array_equal(StampStore(tmp_path).get(asked), wanted)
    assert np.array_equal(StampStore(tmp_path).get(asked.to_pandas()), wanted)


@pytest.mark.parametrize("given", [4, 6])
def test_a_shard_of_too_few_or_too_many_stamps_is_not_left(tmp_path: Path, given: int) -> None:
    stamps = np.zeros((given, 3, 7, 7), dtype=np.float32)
    with pytest.raises(
        ShardError, match=rf"{given * 588} bytes of stamps were given for an array of shape \(5, 3, 7, 7\)"
    ):
        write_shard(tmp_path / shard_name(0), stamps, 5, 7)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSPC])
def test_a_shard_grows_where_room_cannot_be_taken_but_not_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.posix_fallocate", refused)
    with (tmp_path / "shard.npy").open("w+b") as file:
        if number == errno.ENOSPC:
            with pytest.raises(OSError, match="No space left"):
                GrowingShard(file, 9, 8)
            return
        shard = GrowingShard(file, 9, 8)
        shard.append(stamps(5))
        shard.close()
    np.testing.assert_array_equal(np.load(tmp_path / "shard.npy"), stamps(5))


def test_hashes_are_those_of_the_libraries() -> None:
    (stamp,) = stamps(1)
    assert stamp_hash(stamp) == hashlib.sha256(stamp.tobytes()).hexdigest()
    assert stamp_hash(stamp[:, ::-1], "xxh3_128") == xxhash.xxh3_128_hexdigest(stamp[:, ::-1].tobytes())


@pytest.mark.parametrize("hashed", HASHES)
def test_one_changed_bit_is_refused_by_the_hash_that_the_rows_have(tmp_path: Path, hashed: str) -> None:
    made = written(tmp_path)
    asked = rows([0, 1], [3, 0], made, hashed)
    assert np.array_equal(StampStore(tmp_path).get(asked), np.stack([made[0][3], made[1][0]]))
    flipped(tmp_path / shard_name(0))
    with pytest.raises(ShardError, match="does not hold the pixels that the tables name"):
        StampStore(tmp_path).get(asked)


def test_missing_shard_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run `dvc pull` or `dvc repro cutouts`"):
        StampStore(tmp_path).get(rows([0], [0], [stamps(1)]))


def newer(path: Path) -> None:
    """The same shape, another galaxy first."""
    write_shard(path, np.roll(np.load(path), 1, axis=0), 4, 9)


def flipped(path: Path) -> None:
    """One bit of one pixel."""
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def shorter(path: Path) -> None:
    write_shard(path, np.load(path)[:2], 2, 9)


def larger_stamps(path: Path) -> None:
    write_shard(path, stamps(4, 11), 4, 11)


def doubles(path: Path) -> None:
    np.save(path, np.load(path).astype("<f8"))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-700])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def objects(path: Path) -> None:
    np.save(path, np.array([{}]), allow_pickle=True)


OTHER = "does not hold the pixels that the tables name; run `dvc repro manifest`"
UNREADABLE = r"cannot be read \(.*\); run `dvc repro cutouts`"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *((change, OTHER) for change in (newer, flipped, shorter, larger_stamps, doubles)),
        *((change, UNREADABLE) for change in (cut_short, empty, objects)),
    ],
)
def test_a_shard_with_other_pixels_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    made = written(tmp_path)
    change(tmp_path / shard_name(0))
    with pytest.raises(ShardError, match=message):
        StampStore(tmp_path).get(rows([0, 1], [3, 0], made))
    assert np.array_equal(StampStore(tmp_path).get(rows([1], [2], made))[0], made[1][2])


def lake_of(root: DataRoot) -> list[np.ndarray]:
    """A lake whose tables name all stamps of two shards."""
    made = written(root.cutouts)
    places = [(shard, place) for shard in (0, 1) for place in range(len(made[shard]))]
    named = rows([p[0] for p in places], [p[1] for p in places], made)
    ids = pa.array([f"x:{i}" for i in range(len(places))])
    same = {"galaxy_id": ids, "cutout_version": pa.array(["v"] * 9), **{n: named[n] for n in PLACE}}
    put(root, "cutouts", {**same, "status": pa.array(["ok"] * 9)}, None, {})
    manifest = {"manifest_id": "m", "cutout_path": "s", "ra": 1.0, "dec": 1.0, "type_bin": "SER", "nobs_z_bin": "3-5"}
    manifest |= {"split": "train", "pool": "N1", "healpix_128": 1, "label": 0}
    put(root, "manifest", {**same, **{n: pa.array([v] * 9) for n, v in manifest.items()}}, "m", {"manifest_id": "m"})
    return made


def put(root: DataRoot, name: str, columns: dict[str, Any], slice_name: str | None, where: dict[str, str]) -> None:
    spec = tables.spec(name)
    schema = spec.arrow_schema()
    count = len(columns["galaxy_id"])
    whole = [pa.array(columns[f.name]).cast(f.type) if f.name in columns else pa.nulls(count, f.type) for f in schema]
    held = pa.table(whole, schema=pa.schema([f.with_nullable(True) for f in schema]))
    lineage = [name for name in ("pipeline_version", "git_commit", "extracted_at") if name in held.column_names]
    writing.write_slice(Target(root, spec, slice_name, where, Provenance("test")), held.drop_columns(lineage))


def problems(root: DataRoot) -> list[str]:
    return [*shard_problems(root).values(), *manifest_problems(root).values()]


@pytest.mark.usefixtures("whole_stage")
def test_deep_verification_finds_every_changed_shard_and_stale_manifest(root: DataRoot) -> None:
    assert problems(root) == []
    made = lake_of(root)
    assert problems(root) == []
    place = root.cutouts / shard_name(0)
    for change, message in (
        (newer, "4 of 4 stamps differ from 'cutouts'; run `dvc repro cutouts`"),
        (flipped, "1 of 4 stamps differ"),
        (shorter, "2 of 4 stamps differ"),
        (cut_short, "cannot be read"),
        (Path.unlink, "is missing; run `dvc pull`"),
    ):
        change(place)
        (found,) = problems(root)
        assert message in found
        write_shard(place, made[0], 4, 9)
    rolled = [np.roll(made[0], 1, axis=0), made[1]]
    write_shard(place, rolled[0], 4, 9)
    named = rows([0, 0, 0, 0, 1, 1, 1, 1, 1], [0, 1, 2, 3, 0, 1, 2, 3, 4], rolled)
    held = {"galaxy_id": pa.array([f"x:{i}" for i in range(9)]), "cutout_version": pa.array(["v"] * 9)}
    held |= {n: named[n] for n in PLACE} | {"status": pa.array(["ok"] * 9)}
    put(root, "cutouts", held, None, {})
    (found,) = problems(root)
    assert found == "manifest 'm': 4 of 9 rows name other pixels than 'cutouts' holds; run `dvc repro manifest`"


def test_deep_verification_reads_simulated_stamps_by_their_own_hash(root: DataRoot) -> None:
    made = written(root.stamps("mine"))
    named = rows([0] * 4 + [1] * 5, [0, 1, 2, 3, 0, 1, 2, 3, 4], made, SIMULATED_HASH)
    given = {column.name: 0.5 for column in tables.spec("stamps").columns if column.type in ("double", "float")}
    given |= {"set_name": "mine", "label": 1, "config_id": 0, "split": "train", "healpix_128": 1, "status": "ok"}
    ids = pa.array([f"x:{i}" for i in range(9)])
    columns = {name: pa.array([value] * 9) for name, value in given.items()} | {"stamp_id": ids, "galaxy_id": ids}
    put(root, "stamps", columns | {n: named[n] for n in named.column_names}, "mine", {"set_name": "mine"})
    assert problems(root) == []
    flipped(root.stamps("mine") / shard_name(0))
    (found,) = problems(root)
    assert "1 of 4 stamps differ from 'stamps'; run `dvc repro stamps@mine`" in found


def test_buckets_are_even_and_stable() -> None:
    ids = pa.array([f"ls-dr10:0003m005_{i}" for i in range(8000)])
    buckets = bucket_of(ids, 8)
    assert np.bincount(buckets, minlength=8) == pytest.approx(1000, rel=0.15)
    assert buckets[17] == bucket_of(ids[17:18], 8)[0]


def outcome(folder: Path, asked: pa.Table) -> np.ndarray | str:
    """The stamps, or why they are refused."""
    try:
        return StampStore(folder).get(asked)
    except ShardError as error:
        return str(error)


def test_mutated_shards_are_refused_or_true(tmp_path: Path) -> None:
    """Half of the mutations hit the header of the array."""
    rng, made = np.random.default_rng(11), written(tmp_path)
    path, asked = tmp_path / shard_name(0), rows([0, 0], [1, 3], made)
    content, whole = path.read_bytes(), made[0][[1, 3]]
    refused = 0
    for _ in range(400):
        mutant = bytearray(content)
        for place in rng.integers(0, 128 if rng.random() < 0.5 else len(content), rng.integers(1, 6)):
            mutant[place] = rng.integers(256)
        path.write_bytes(mutant[: rng.integers(0, len(content))] if rng.random() < 0.1 else mutant)
        found = outcome(tmp_path, asked)
        if isinstance(found, str):
            assert shard_name(0) in found
            refused += 1
        else:
            assert np.array_equal(found, whole)
    assert refused > 200
