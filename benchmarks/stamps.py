"""Speed of simulated stamps, and a plan of the survey's size: ``python -m benchmarks.stamps [project]``.

In a project whose plan was made (`dhs params use simulated`, `dvc repro params/simulated/dvc.yaml:plan@unpaired`), what
Spark's tasks do (coadds read, lenses rendered, stamps hashed and written) is compared with the engine alone, which
renders the same lenses into hosts in memory: processor seconds of one thread. With ``--made-up N`` the lenses lie in
bricks of noise of the survey's size with N galaxies each, and no plan is needed. With ``--planned N`` a plan of N
stamps is made and published by Spark instead.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks import cutouts
from etl.cutouts.bricks import Bricks, holding_brick
from etl.cutouts.cutter import CONDITIONS
from etl.simulated import plan, shards
from etl.simulated.hosts import read_hosts
from etl.simulated.shards import ShardMaker
from etl.spark.session import session
from etl.stampconfig import PlanParams
from etl.tables import writer
from injection.experiment.training_stamps import StampRenderer, prior_of_lenses, source_model
from lake import tables
from lake.root import DataRoot
from lake.sky.survey import SURVEY
from lake.store import delta
from lake.store.stamps import SIMULATED_HASH, stamp_hash
from lake.store.writing import Provenance, Target
from pipeline.experiment.stampparams import StampSet, StampsParams
from pipeline.project import params
from pipeline.project.project import Project

_GALAXIES = 145_000
"""Luminous red galaxies of the reference system."""
_CATALOGUE = {
    "split": "train", "healpix_128": 1, "mag_r": 19.5,
    "psfsize_g": 1.4, "psfsize_r": 1.3, "psfsize_z": 1.2, "psfdepth_g": 900.0, "psfdepth_r": 900.0, "psfdepth_z": 400.0,
}  # fmt: skip
"""What a plan says of every galaxy of a made-up brick."""


def speed(project: Project, name: str, configurations: int, bricks: int, passes: int) -> float:
    """Processor time of a task per lens over that of the engine; the lower of ``passes`` runs of each."""
    given = project.section(StampsParams, "stamps")
    chosen = given.chosen(name)
    planned_rows = delta.read(project.data, "injection_manifest", slices=[chosen.plan])
    rows = _repeated(_placed(project, planned_rows, given), configurations, bricks)
    return compared(project.survey.folder, rows, given, chosen, passes)


def made_up(project: Project, name: str, configurations: int, bricks: int, galaxies: int, passes: int) -> float:
    """The same for bricks of noise of the survey's size, each with so many galaxies; half of all are controls."""
    given = project.section(StampsParams, "stamps")
    grid = project.section(PlanParams, "plan").grids["grid_sota"].configurations().to_pandas()
    rng, half = np.random.default_rng(0), 0.95 * 0.125
    parts = []
    with tempfile.TemporaryDirectory() as survey:
        names = cutouts.brick(Path(survey), bricks)
        for galaxy, brick in enumerate(name for name in names for _ in range(galaxies)):
            chosen = grid.sample(configurations, random_state=galaxy).sort_values("config_id")
            ids = {"galaxy_id": f"{brick}/{galaxy}", "stamp_id": [f"{galaxy}/{each}" for each in chosen["config_id"]]}
            place = {"brick": brick, "ra": 150 + rng.uniform(-half, half), "dec": 2 + rng.uniform(-half, half)}
            rows = chosen.assign(**ids, **place, **_CATALOGUE, label=1 - galaxy % 2)
            parts.append(pa.Table.from_pandas(rows, preserve_index=False).select(["brick", *shards.PLANNED]))
        return compared(survey, pa.concat_tables(parts), given, given.chosen(name), passes)


def compared(survey: str, rows: pa.Table, given: StampsParams, chosen: StampSet, passes: int) -> float:
    """Processor time of a task per lens over that of the engine; the lower of ``passes`` runs of each."""
    sources, prior = source_model(given.rendering, chosen), prior_of_lenses(given.rendering)
    render = StampRenderer(given.rendering, prior, chosen.psf_model, sources, 1, SURVEY)
    lenses = int(np.sum(rows["label"].to_numpy()))
    parts, task = [], []
    for number in range(passes + 1):
        with tempfile.TemporaryDirectory() as folder:
            started = time.process_time()
            ShardMaker(survey, folder, given.cutting, render).make(0, rows)
            task.append(time.process_time() - started)
        parts.append(_parts(survey, rows, given, render))
        print(f"pass {number}: task {task[-1]:.1f} s, engine {parts[-1]['engine']:.1f} s", flush=True)
    # the first pass loads compiled code
    least = {name: 1e3 * min(each[name] for each in parts[1:]) / lenses for name in parts[0]}
    alone, whole = least["engine"], 1e3 * min(task[1:]) / lenses
    print(f"{lenses} lenses, {rows.num_rows - lenses} controls")
    print(f"engine {alone:.3f} ms a lens; task {whole:.3f} ms, its control, its coadds and files included")
    print(f"coadds {least['coadds']:.3f} ms, hash {least['hash']:.3f} ms, one write {least['write']:.3f} ms a lens")
    return whole / alone


def _placed(project: Project, planned: pa.Table, given: StampsParams) -> pa.Table:
    bricks = Bricks.read(f"{project.survey.folder}/survey-bricks.fits")
    ra, dec = (planned[name].to_numpy() for name in ("ra", "dec"))
    own = np.asarray(planned["brickname"].to_pylist(), dtype=str)
    found = holding_brick(bricks, own, ra, dec, given.cutting.stamp_pixels, given.cutting.coadd_pixels)
    return planned.append_column("brick", pa.array(found, pa.string())).select(["brick", *shards.PLANNED])


def _repeated(rows: pa.Table, configurations: int, bricks: int) -> pa.Table:
    """The stamps of the first bricks, each as often as if its galaxy had so many configurations."""
    first = sorted(set(rows["brick"].to_pylist()) - {""})[:bricks]
    rows = rows.filter(pc.is_in(rows["brick"], pa.array(first)))
    place = rows.column_names.index("stamp_id")
    copies = [
        rows.set_column(place, "stamp_id", pc.binary_join_element_wise(rows["stamp_id"], str(number), "/"))
        for number in range(configurations)
    ]
    return pa.concat_tables(copies)


def _parts(survey: str, rows: pa.Table, given: StampsParams, render: StampRenderer) -> dict[str, float]:
    """Processor seconds of the engine (parameters drawn, light rendered, convolved and measured, hosts added), and of
    what a task must do besides: hosts read from the coadds, stamps hashed, and written."""
    ordered = rows.sort_by([(name, "ascending") for name in ("brick", "galaxy_id", "stamp_id")]).combine_chunks()
    galaxies, host = shards._galaxies(ordered)
    started = time.process_time()
    hosts = read_hosts(survey, galaxies, given.cutting)
    spent = {"coadds": time.process_time() - started, "engine": 0.0, "hash": 0.0, "write": 0.0}
    lens = np.flatnonzero((ordered["label"].to_numpy() == 1) & np.array([hosts.reasons[h] is None for h in host]))
    stamps = shards.Stamps(ordered, host, hosts, given.cutting)
    with tempfile.TemporaryFile() as file:
        for start in range(0, len(lens), shards._BATCH):
            part = lens[start : start + shards._BATCH]
            inputs = stamps._planned(part, host[part]), hosts.stamps, hosts.usable, host[part]
            times = [time.process_time()]
            images = render(*inputs)[0]
            times.append(time.process_time())
            for image in images:
                stamp_hash(image, SIMULATED_HASH)
            times.append(time.process_time())
            file.write(images.data)
            times.append(time.process_time())
            for name, seconds in zip(("engine", "hash", "write"), np.diff(times), strict=True):
                spent[name] += seconds
    return {name: seconds * int(np.sum(ordered["label"].to_numpy())) / len(lens) for name, seconds in spent.items()}


def planned(project: Project, wanted: int) -> None:
    """Plan and publish ``wanted`` stamps or a few more, of a made-up pool."""
    given = project.section(PlanParams, "plan")
    each = -(-wanted // _GALAXIES)
    spec = {"grid": "grid_sota", "controls": "unpaired", "configurations_per_galaxy": each, "max_galaxies": None}
    given = PlanParams.load({**given.model_dump(mode="json"), "plans": {"survey": spec}}, "plan")
    with tempfile.TemporaryDirectory() as folder:
        root = DataRoot.of(Path(folder) / "data")
        spark = session(root, "plan", "survey", compile_queries=True)
        known = ", ".join(f"cast({1.3 if c.startswith('psfsize') else 900.0} as float) AS {c}" for c in CONDITIONS)
        pool = spark.range(_GALAXIES).selectExpr(
            "concat('x:', id) AS galaxy_id", "'DEV' AS type", "'0001p000' AS brickname", "'train' AS split",
            "id AS healpix_128", "cast(id * 0.001 as double) AS ra", "cast(id * 0.0001 as double) AS dec",
            "cast(19.5 as float) AS mag_r", "cast(18.5 as float) AS mag_z", "cast(1.0 as float) AS r_minus_z",
            "cast(1.0 as float) AS z_minus_w1", *(f"cast(9.0 as float) AS flux_{b}" for b in ("r", "z", "w1")),
            *known.split(", "),
        )  # fmt: skip
        started = time.perf_counter()
        made = plan.planned(spark, pool, given, "survey", 1)
        target = Target(root, tables.spec("injection_manifest"), "survey", {"plan": "survey"}, Provenance("plan"))
        card = writer.publish(made.rows, target, judged=made.count)
        seconds = time.perf_counter() - started
        own = psutil.Process()
        java = sum(p.memory_info().rss for p in own.children(recursive=True) if "java" in p.name())
        print(f"{card.rows} stamps planned and published in {seconds:.0f} s; {made.count} were expected")
        print(f"memory: {own.memory_info().rss / 1e9:.2f} GB here, {java / 1e9:.2f} GB in Java")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", nargs="?", default=".", type=Path)
    parser.add_argument("--set", default="unpaired")
    parser.add_argument("--configurations", default=73, type=int)
    parser.add_argument("--bricks", default=8, type=int)
    parser.add_argument("--passes", default=2, type=int)
    parser.add_argument(
        "--made-up", type=int, metavar="GALAXIES", help="bricks of the survey's size with so many galaxies"
    )
    parser.add_argument("--planned", type=int)
    given = parser.parse_args()
    project = params.load(given.project)
    if given.planned is not None:
        planned(project, given.planned)
    elif given.made_up is not None:
        parts = given.configurations, given.bricks, given.made_up, given.passes
        print(f"ratio {made_up(project, given.set, *parts):.3f}")
    else:
        print(f"ratio {speed(project, given.set, given.configurations, given.bricks, given.passes):.3f}")


if __name__ == "__main__":
    main()
