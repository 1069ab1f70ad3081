"""Fetching the files of a region from the survey: first a plan with sizes, then the files, each checked."""

from __future__ import annotations

import asyncio
import gzip
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
from filelock import FileLock, Timeout

from etl.config import DownloadParams
from etl.web import fetching, release
from etl.web.fetching import FAILED, Outcome
from etl.web.polite import Polite, UnansweredError, body
from etl.web.release import Box, File
from lake.errors import DataError, invalid
from lake.files import atomic
from lake.progress import track, watch
from pipeline.project.project import Project

log = logging.getLogger(__name__)

_MOST_LIST_BYTES = 256 << 20
_SAMPLED = 5
"""Files of each kind whose size the server is asked for; the others are taken to be as large on average."""
BRICKS = "survey-bricks.fits"


@dataclass(frozen=True)
class Plan:
    """Files to fetch into ``folder``, and about how many bytes they have, by kind."""

    folder: Path
    files: tuple[File, ...]
    bytes: dict[str, int]

    @property
    def gigabytes(self) -> float:
        return sum(self.bytes.values()) / 1e9

    def lines(self) -> list[tuple[str, int, int, float]]:
        """Kind, files, files without a published checksum, and about how many GB."""
        count = Counter(file.kind for file in self.files)
        bare = Counter(file.kind for file in self.files if file.sha256 is None)
        return [(kind, number, bare[kind], self.bytes[kind] / 1e9) for kind, number in sorted(count.items())]


def folder_of(project: Project) -> Path:
    """The survey's folder, where files go: a local one, and not that of a simulated survey."""
    folder = project.survey.folder
    if project.survey.simulated:
        raise DataError(
            f"{folder} is of the simulated survey '{project.survey.name}', where files of a real one do not belong: "
            "run `dhs params use dr10` first"
        )
    if "://" in folder:
        raise invalid("survey.folder", "a local folder, to download into it", folder)
    return project.folder / folder


def planned(
    project: Project, params: DownloadParams, region: Box | None, bricks: Sequence[str], what: Iterable[str]
) -> Plan:
    """What a region or a list of bricks needs that is not here; fetches the lists that tell it."""
    folder = folder_of(project)
    with _alone(folder):
        try:
            return asyncio.run(_planned(folder, params, region, bricks, set(what)))
        except UnansweredError as error:
            raise DataError(
                f"the lists of the survey's files cannot be fetched from {params.url}: {error}; "
                "check the network and `download.url`, and run the command again"
            ) from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second download out of the folder: both would write the same unfinished files."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".download.lock", timeout=0):
            yield
    except Timeout:
        raise DataError(f"another `dhs download` writes to {folder}; wait for it or stop it") from None


async def _planned(
    folder: Path, params: DownloadParams, region: Box | None, bricks: Sequence[str], what: set[str]
) -> Plan:
    async with Polite(params.web, as_stored=True) as polite:
        await _bricks(polite, params, folder / BRICKS)
        boxes = release.brick_boxes(folder / BRICKS)
        names = release.chosen(boxes, region, bricks)
        wanted: list[File] = []
        if "sweeps" in what:
            sums = await _checksums(polite, f"{params.url}/{params.sweep_checksums}")
            if sums is None:
                raise DataError(f"{params.url}/{params.sweep_checksums}, which lists the sweeps, is not there")
            wanted += release.sweeps(params, sums, [boxes[name] for name in names])
        if "coadds" in what:
            wanted += await _with_checksums(polite, params, release.coadds(params, names))
        looked = track(wanted, "look at what is here")
        left = [file for file in looked if not fetching.is_here(file, folder / file.place)]
        log.info("%d of %d files are here", len(wanted) - len(left), len(wanted))
        return Plan(folder, tuple(left), await _sizes(polite, left))


async def _bricks(polite: Polite, params: DownloadParams, target: Path) -> None:
    """Have the table of bricks, unpacked; one that is there stays."""
    if target.exists():
        return
    packed = target.with_name(Path(params.bricks).name)
    await fetching.fetch(polite, File(f"{params.url}/{params.bricks}", packed.name, "bricks"), packed)
    if packed != target:
        with atomic.replacing(target) as draft, gzip.open(packed) as source, draft.open("wb") as file:
            shutil.copyfileobj(source, file)
        packed.unlink()


async def _checksums(polite: Polite, url: str) -> dict[str, str] | None:
    """A list of checksums; None if the release has none there."""

    async def take(answer: aiohttp.ClientResponse) -> str:
        return (await body(answer, _MOST_LIST_BYTES)).decode("utf-8", "replace")

    try:
        text = await polite.ask(url, take)
    except UnansweredError as error:
        if "404" in str(error):
            return None
        raise
    try:
        return release.checksums(text)
    except DataError as error:
        raise DataError(f"{url}: {error}") from error


async def _with_checksums(polite: Polite, params: DownloadParams, files: Sequence[File]) -> list[File]:
    """Coadds with their published checksums."""
    known: dict[str, str] = {}
    for group in sorted({file.place.split("/")[1] for file in files}):
        url = f"{params.url}/{params.coadd_checksums.replace('{group}', group)}"
        found = await _checksums(polite, url)
        if found is None:
            log.warning("%s is not there: coadds of this folder are checked by their size alone", url)
        known |= found or {}
    return [replace(file, sha256=known.get(file.place.rpartition("/")[2])) for file in files]


async def _sizes(polite: Polite, files: Sequence[File]) -> dict[str, int]:
    """About how many bytes the files of each kind have, from the sizes of a few."""

    async def take(answer: aiohttp.ClientResponse) -> int:
        return int(answer.headers.get("Content-Length", "0"))

    found = {}
    for kind in sorted({file.kind for file in files}):
        mine = [file for file in files if file.kind == kind]
        sizes = []
        for file in mine[:: max(1, len(mine) // _SAMPLED)][:_SAMPLED]:
            try:
                sizes.append(await polite.ask(file.url, take, method="HEAD"))
            except UnansweredError:
                log.debug("%s is not there", file.url)
        found[kind] = round(sum(sizes) / len(sizes) * len(mine)) if sizes else 0
    return found


def require_room(plan: Plan) -> None:
    """Refuse a download that the disk does not hold."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(plan.folder).free / 1e9
    if plan.gigabytes > free:
        raise DataError(f"about {plan.gigabytes:.1f} GB are needed and {free:.1f} GB are free in {plan.folder}")


def fetched(plan: Plan, params: DownloadParams) -> list[Outcome]:
    """Fetch the files of a plan; every one is an outcome."""
    with _alone(plan.folder):
        return asyncio.run(_fetched(plan, params))


async def _fetched(plan: Plan, params: DownloadParams) -> list[Outcome]:
    done: list[Outcome] = []
    with watch(lambda: len(done), "files of the survey", len(plan.files)):
        async with Polite(params.web, as_stored=True) as polite:
            await fetching.fetch_all(polite, plan.files, plan.folder, params.web.connections, done.append)
    return done


def report(outcomes: Sequence[Outcome], tell: Callable[[str], object]) -> bool:
    """Say what became of all files; whether none failed."""
    count, size = Counter(outcome.state for outcome in outcomes), sum(outcome.bytes for outcome in outcomes)
    tell(f"{count[fetching.FETCHED]} files fetched, {count[FAILED]} failed, {size / 1e9:.2f} GB here")
    for outcome in outcomes:
        if outcome.state == FAILED:
            tell(f"{outcome.file.place}: {outcome.reason}")
    return not count[FAILED]
