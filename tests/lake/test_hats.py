"""A pinned table as a HATS catalogue; read by LSDB where it is installed."""

from __future__ import annotations

from pathlib import Path

import healpy
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from lake import tables
from lake.errors import ParameterError
from lake.root import DataRoot
from lake.store import cards, delta, writing
from lake.store.writing import Provenance, Target
from lake.upkeep import hats
from tests.fulldisk import no_file_over
from tests.lake.gates import gate, write

SPEC = tables.spec("negatives")
ROWS = 3000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    """Negatives in two fields, one of them round the pole, and some at RA 0."""
    made, rng = DataRoot.of(tmp_path_factory.mktemp("hats") / "data"), np.random.default_rng(3)
    ra = np.concatenate([rng.uniform(10, 12, ROWS - 200), rng.uniform(0, 360, 100), rng.normal(0, 0.5, 100) % 360])
    dec = np.concatenate([rng.uniform(-1, 1, ROWS - 200), rng.uniform(88, 90, 100), rng.uniform(-1, 1, 100)])
    rows = {
        "galaxy_id": [f"g{i:05d}" for i in range(ROWS)],
        "ra": ra,
        "dec": dec,
        "brickname": ["b"] * ROWS,
        "type_bin": ["SER"] * ROWS,
        "nobs_z_bin": ["3-5"] * ROWS,
        "pool": ["N1"] * ROWS,
        "confuser_category": pa.nulls(ROWS, pa.string()),
        "split": ["train"] * ROWS,
        "healpix_128": healpy.ang2pix(128, ra, dec, nest=True, lonlat=True),
        "rank": range(ROWS),
    }
    writing.write_slice(Target(made, SPEC, None, {}, Provenance("negatives", {"git_commit": "abc"})), pa.table(rows))
    return made


@pytest.fixture(scope="module")
def catalogue(root: DataRoot, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "negatives"
    hats.export(root, cards.read_slice(root, "negatives"), folder, max_rows=500)
    return folder


def test_every_row_lies_in_the_file_of_its_pixel_in_order(root: DataRoot, catalogue: Path) -> None:
    seen = []
    for path in sorted((catalogue / "dataset").rglob("Npix=*.parquet")):
        order, folder, pixel = (int(part.split("=")[1].removesuffix(".parquet")) for part in path.parts[-3:])
        rows = pq.read_table(path, partitioning=None)
        assert 0 < rows.num_rows <= 500
        assert folder == pixel // 10_000 * 10_000
        ra, dec = rows["ra"].to_numpy(), rows["dec"].to_numpy()
        assert set(healpy.ang2pix(2**order, ra, dec, nest=True, lonlat=True)) == {pixel}
        places = rows[hats.PLACE].to_numpy()
        assert (places == healpy.ang2pix(2**29, ra, dec, nest=True, lonlat=True)).all()
        assert (np.diff(places) >= 0).all()
        seen.append(rows.drop_columns([hats.PLACE]))
    whole = pa.concat_tables(seen).sort_by("galaxy_id").replace_schema_metadata()
    wanted = delta.read(root, "negatives")
    assert whole.select(wanted.column_names).cast(wanted.schema).equals(wanted)


def test_the_catalogue_describes_itself(root: DataRoot, catalogue: Path) -> None:
    lines = (catalogue / "hats.properties").read_text().splitlines()[1:]
    told = dict(line.split("=", 1) for line in lines)
    entry = cards.read_slice(root, "negatives")
    assert told["hats_nrows"] == str(ROWS)
    assert told["dhs_version"] == str(entry.pin.version)
    assert told["dhs_fingerprint"] == entry.card.fingerprint
    listed = (catalogue / "partition_info.csv").read_text().splitlines()
    assert listed[0] == "Norder,Npix"
    found = ds.parquet_dataset(str(catalogue / "dataset" / "_metadata"))
    assert (len(listed) - 1, found.count_rows()) == (len(found.files), ROWS)
    shown = pq.read_schema(catalogue / "dataset" / "_common_metadata").field("ra").metadata
    assert shown == {b"description": b"right ascension (J2000)", b"unit": b"deg"}


@pytest.mark.parametrize("most", [1, 7, 400, 10**6])
def test_pixels_are_the_coarsest_that_hold_few_enough(most: int) -> None:
    rng = np.random.default_rng(most)
    places = healpy.ang2pix(2**29, rng.normal(40, 3, 2000), rng.normal(0, 3, 2000), nest=True, lonlat=True)
    parts = hats.divided(places, most)
    assert sum(part.rows for part in parts) == 2000
    for part in parts:
        above = part.pixel >> 2
        assert part.rows <= most or part.order == 10
        assert part.order == 0 or (places >> 2 * (30 - part.order) == above).sum() > most
    assert [part.first for part in parts] == sorted(part.first for part in parts)


def test_what_is_no_catalogue_is_not_replaced(root: DataRoot, catalogue: Path, tmp_path: Path) -> None:
    entry = cards.read_slice(root, "negatives")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(ParameterError, match="'hats' must be a new or empty folder, or an earlier catalogue"):
        hats.export(root, entry, tmp_path / "mine")
    with pytest.raises(ParameterError, match="'max_rows' must be at least 1"):
        hats.export(root, entry, tmp_path / "other", 0)
    before = (catalogue / "partition_info.csv").read_text()
    hats.export(root, entry, catalogue, max_rows=500)
    assert (catalogue / "partition_info.csv").read_text() == before
    assert [path.name for path in catalogue.parent.iterdir()] == ["negatives"]


def test_a_full_disk_leaves_no_catalogue(root: DataRoot, tmp_path: Path) -> None:
    def write_out() -> None:
        with no_file_over(20_000):
            hats.export(root, cards.read_slice(root, "negatives"), tmp_path / "negatives")

    with pytest.raises(OSError, match=f"File too large: '{tmp_path / 'negatives'}'"):
        write_out()
    assert list(tmp_path.iterdir()) == []


def test_a_table_without_positions_is_refused(root: DataRoot, tmp_path: Path) -> None:
    write(root, "a", gate("a", "x"))
    with pytest.raises(ParameterError, match="'table' must be one with positions"):
        hats.export(root, cards.read_slice(root, "gates", "s-a"), tmp_path / "x")


@pytest.mark.filterwarnings("ignore")
def test_lsdb_opens_it(root: DataRoot, catalogue: Path) -> None:
    lsdb = pytest.importorskip("lsdb")
    found = lsdb.open_catalog(str(catalogue))
    assert len(found) == ROWS
    rows = found.compute()
    wanted = delta.read(root, "negatives").to_pandas()
    merged = rows.sort_values("galaxy_id").reset_index(drop=True)
    assert (merged["galaxy_id"].to_numpy() == wanted["galaxy_id"].to_numpy()).all()
    assert np.array_equal(merged["ra"].to_numpy(), wanted["ra"].to_numpy())
    cone = found.cone_search(ra=11.0, dec=0.0, radius_arcsec=1800).compute()
    there = healpy.ang2vec(11.0, 0.0, lonlat=True)
    away = np.arccos(np.clip(healpy.ang2vec(wanted["ra"], wanted["dec"], lonlat=True) @ there, -1, 1))
    assert set(cone["galaxy_id"]) == set(wanted["galaxy_id"][np.rad2deg(away) * 3600 <= 1800])
    matched = found.crossmatch(found, radius_arcsec=0.01, suffixes=("_a", "_b")).compute()
    assert len(matched) == ROWS
    assert (matched["galaxy_id_a"] == matched["galaxy_id_b"]).all()
