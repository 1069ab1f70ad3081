"""Speed of cut-outs: ``python -m benchmarks.cutouts [--windows 100 2000 4000 8000]``.

Cuts windows of 101 pixels from one brick of noise, made like the survey's (3600 x 3600, tiles of 100 x 100, Rice),
judges and hashes them as a Spark task does, in one process; then reads random batches as training does. Times are
processor time, unless they are called wall time. ``--windows`` without numbers only reads batches.
"""

from __future__ import annotations

import os

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as `dhs` does

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import yaml
from astropy.io import fits
from astropy.wcs import WCS

from etl.config import CutoutsParams
from etl.cutouts import cutter
from lake.sky.survey import BANDS, PIXEL_SCALE_ARCSEC
from lake.store.stamps import StampStore, shard_name, stamp_hash, write_shard
from modeling.networks.inference import threads
from modeling.training.data import Reused

_PARAMS = Path(__file__).resolve().parents[1] / "params" / "base.yaml"
_BRICK = "1500p020"
_SIDE = 3600


def brick(folder: Path, copies: int = 1) -> list[str]:
    """A brick of noise in the survey's layout, under so many names, which are returned."""
    rng = np.random.default_rng(0)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.0, 2.0], [_SIDE / 2 + 0.5] * 2
    wcs.wcs.cd = np.array([[-1, 0], [0, 1]]) * PIXEL_SCALE_ARCSEC / 3600
    place = folder / "coadds" / _BRICK[:3] / _BRICK
    place.mkdir(parents=True)

    def write(name: str, image: np.ndarray, level: float) -> None:
        packed = fits.CompImageHDU(
            image, wcs.to_header(), compression_type="RICE_1", tile_shape=(100, 100), quantize_level=level
        )
        fits.HDUList([fits.PrimaryHDU(), packed]).writeto(place / f"legacysurvey-{_BRICK}-{name}.fits.fz")

    for band in BANDS:
        write(f"image-{band}", rng.normal(0.1, 0.02, (_SIDE, _SIDE)).astype(np.float32), -0.001)
        write(f"invvar-{band}", rng.normal(2500, 10, (_SIDE, _SIDE)).astype(np.float32), 16.0)
    write("maskbits", (rng.random((_SIDE, _SIDE)) < 0.02).astype(np.int16), 0)
    names = [f"{1500 + number}p020" for number in range(copies)]
    for name in names[1:]:
        there = folder / "coadds" / name[:3] / name
        there.mkdir(parents=True)
        for file in place.iterdir():
            (there / file.name.replace(_BRICK, name)).hardlink_to(file)
    return names


def processor(job: Callable[[], object]) -> float:
    started = time.process_time()
    job()
    return time.process_time() - started


def _wall(job: Callable[[], object]) -> float:
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def cutting(folder: Path, counts: list[int], params: CutoutsParams) -> None:
    """The lowest of three times of each number of windows, with code compiled and memory filled by bricks before."""
    half = 0.125 * 0.95

    def cut(count: int) -> None:
        rng = np.random.default_rng(count)
        ra, dec = 150.0 + rng.uniform(-half, half, count), 2.0 + rng.uniform(-half, half, count)
        cutter.cut_brick(str(folder), _BRICK, ra, dec, np.zeros(count, dtype=bool), params)

    cut(counts[-1])
    seconds = []
    for count in counts:
        seconds.append(min(processor(lambda: cut(count)) for _ in range(3)))  # noqa: B023
        print(f"{count:>7} windows in a brick: {count / seconds[-1]:7.0f} stamps/s per core")
    if len(counts) == 1:  # a brick and its stamps cannot be told apart
        return
    each = (seconds[-1] - seconds[-2]) / (counts[-1] - counts[-2])
    brick_s = seconds[-1] - counts[-1] * each
    print(f"each stamp {1e3 * each:.2f} ms ({1 / each:.0f} per second), each brick {brick_s:.2f} s")


def reading(folder: Path, pixels: int) -> None:
    """A random batch from shards, checked against its hashes, and from the arrays of training."""
    rng = np.random.default_rng(1)
    stamps = rng.normal(size=(2048, len(BANDS), pixels, pixels)).astype(np.float32)
    for shard in range(8):
        write_shard(folder / shard_name(shard), stamps[shard::8], 256, pixels)
    chosen = rng.permutation(2048)[:512]
    hashes = [stamp_hash(stamps[place]) for place in chosen]
    rows = pa.table({"shard": chosen % 8, "shard_row": chosen // 8, "sha256": hashes})
    store = StampStore(folder)
    store.get(rows)
    print(f"from shards, checked: {1e6 * processor(lambda: store.get(rows)) / 512:.1f} us per stamp of {pixels} px")
    for side, kind in ((64, torch.float16), (64, torch.float32), (pixels, torch.float16)):
        arrays = torch.from_numpy(stamps[:, :, :side, :side].copy()).to(kind)
        order = torch.from_numpy(rng.permutation(2048)[:512])
        file = np.memmap(folder / "stamps.raw", arrays.numpy().dtype, "w+", shape=tuple(arrays.shape))
        file[:] = arrays.numpy()
        memory, straight, copy = Reused(), arrays[: len(order)], torch.empty_like(arrays[: len(order)])
        work = {
            "from the arrays of training": lambda: memory.rows(arrays, order),  # noqa: B023
            "from a memory-mapped file by NumPy": lambda: file[order.numpy()],  # noqa: B023
            "a plain copy": lambda: copy.copy_(straight),  # noqa: B023
        }
        each = {name: _each(one) for name, one in work.items()}
        print(f"a random batch of {side} px {str(kind).removeprefix('torch.')}, us per stamp:")
        print("".join(f"  {name} {1e6 * seconds:.1f}\n" for name, seconds in each.items()), end="")
        ours, numpys, _ = each.values()
        print(f"  ratio to NumPy's {ours / numpys:.2f}")
        with threads(2):
            both = min(_wall(work["from the arrays of training"]) for _ in range(300)) / len(order)
        print(f"  from the arrays of training, two threads, wall time {1e6 * both:.1f}")


def _each(batch: Callable[[], object], rows: int = 512) -> float:
    """Processor seconds of a row: the lowest of 20 batches."""
    return min(processor(batch) for _ in range(20)) / rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, nargs="*", default=[100, 2000, 4000, 8000])
    counts = sorted(set(parser.parse_args().windows))
    torch.set_num_threads(1)
    params = CutoutsParams.load(yaml.safe_load(_PARAMS.read_text())["cutouts"], "cutouts")
    with tempfile.TemporaryDirectory() as scratch:
        if counts:
            brick(Path(scratch))
            cutting(Path(scratch), counts, params)
        reading(Path(scratch), params.stamp_pixels)


if __name__ == "__main__":
    main()
