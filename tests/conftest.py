"""What tests of all packages share: one Spark server per run, and the folder of real survey data."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psutil
import pytest

from lake.gc_tuning import OBJECTS_BETWEEN_SEARCHES
from lake.root import DataRoot
from tests import sourcecode

# Tests run in several processes, whose threads would wait for each other by spinning. Read when torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Imported libraries are a million objects that live to the end: they are not searched for garbage while tests are
# collected, nor later (half the time of collecting). At the very end they are, or DuckDB reports them as leaked.
# Libraries that tests import themselves are searched as seldom as in a stage (lake.gc_tuning).
gc.disable()
gc.set_threshold(OBJECTS_BETWEEN_SEARCHES)
atexit.register(gc.unfreeze)

# A run in the background of a shell ignores Ctrl-C, one under `nohup` the end of a terminal; so would the programs that
# tests end by these signals.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# The gate tries the same examples in every run; `pytest --hypothesis-profile=explore` looks for new ones.
hypothesis.settings.register_profile("explore", deadline=None)
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")

REAL_DATA = Path(os.environ.get("DHS_REAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "real"))


MEMORY = Path("/dev/shm")
ENOUGH_BYTES = 4 * 2**30


WHOLE_FILE = re.compile(r"^pytestmark = .*usefixtures\(\"whole_stage\"\)", re.MULTILINE)


def without_whole_stage(config: pytest.Config) -> bool:
    return "not whole_stage" in config.option.markexpr


def pytest_configure(config: pytest.Config) -> None:
    """Tests of `make quick` write to memory where it has room: files on a disk cost a tenth of their time."""
    if not without_whole_stage(config) or not MEMORY.is_dir():
        return
    if min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available) > ENOUGH_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file of which `make quick` leaves out every test is not even imported."""
    if collection_path.suffix == ".py" and without_whole_stage(config):
        return bool(WHOLE_FILE.search(collection_path.read_text())) or None
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make quick` leaves out, and put the chain first: its checkout is what many tests wait for.

    `make quick` leaves out tests that use the fixture ``whole_stage``: themselves, by another, or by their file.
    """
    items.sort(key=lambda item: item.path.name != "test_chain.py")
    for item in items:
        if isinstance(item, pytest.Function) and "whole_stage" in item.fixturenames:
            item.add_marker(pytest.mark.whole_stage)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_sessionfinish() -> None:
    """pytest searches five times for errors of objects in circles: of libraries that tests imported no more often than
    something is found."""
    for _ in range(5):
        if not gc.collect():
            break
    gc.freeze()


@pytest.fixture(scope="session")
def whole_stage() -> None:
    """For tests and fixtures that run a stage or a command from its inputs to its outputs, or several of them.

    They publish a table from catalogues, cut bricks into shards, fill a grid, train a network and track it, import or
    share tables, make a page; start Spark, DVC or `dhs`; kill a program; or run all ways that a benchmark compares. The
    other tests are of parts: what a function gives for small inputs, a contract, a formula, a refusal, a message.
    """


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real survey files (see the README); tests that need it are skipped where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real survey data: {REAL_DATA} does not exist (set DHS_REAL_DATA)")
    return REAL_DATA


@pytest.fixture(scope="session")
def cases() -> Path:
    """Folder of small inputs that must be handled rightly, beside the real data; skipped where it is absent."""
    folder = REAL_DATA.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"no cases: {folder} does not exist")
    return folder


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A temporary folder that the processes of one run share."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def once(run_folder: Path) -> Callable[[str, Callable[[Path], object]], Path]:
    """``once(name, make)`` lets ``make(folder)`` fill a folder, once for all processes of a run, and answers it."""

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder = run_folder / name
        with (run_folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                part = Path(tempfile.mkdtemp(dir=run_folder))
                make(part)
                part.rename(folder)
        return folder

    return made


@pytest.fixture(scope="session")
def used(once: Callable[[str, Callable[[Path], object]], Path]) -> sourcecode.Uses:
    """What each module of the project imports and calls."""
    return sourcecode.read(once("sourcecode", sourcecode.write))


@pytest.fixture
def words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are set up and not drawn, which takes most of the time: for tests that read words and numbers."""
    from analysis.figures import style

    monkeypatch.setattr(style, "_saved", lambda figure, kind, *left_out, **options: b"<svg></svg>")


@pytest.fixture(scope="session")
def spark_server(whole_stage: None, run_folder: Path) -> Iterator[str]:
    """Connection string of the run's one Spark server; subprocesses find it in SPARK_REMOTE."""
    if "SPARK_REMOTE" in os.environ:
        yield os.environ["SPARK_REMOTE"]
        return
    from etl.spark import server

    folder = run_folder / "spark"
    with pytest.MonkeyPatch.context() as patch, (run_folder / "spark.users").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        patch.setenv("SPARK_REMOTE", server.address(folder))
        yield os.environ["SPARK_REMOTE"]
        with contextlib.suppress(BlockingIOError):  # the last process stops the server
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            server.stop(folder)


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    """An empty data root."""
    return DataRoot.of(tmp_path / "data")


@pytest.fixture
def spark(spark_server: str, root: DataRoot) -> Iterator[Any]:
    """A Spark session on the run's server, of the data root of the ``root`` fixture."""
    from etl.spark.session import session

    made = session(root, "test", compile_queries=False)
    yield made
    made.stop()
