"""List the survey's files, the registry's records, the lists that people judged and the files that the grid names, at
every run: stages depend on the listings, and run again when a file's content changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from etl.files import listing
from lake.files import atomic
from pipeline.project.project import Project

FOLDERS = ("sweeps", "coadds")
NOTHING = "[]\n"
_PRIORS = (".yaml", ".yml")
_IMAGES = ".fits"
"""Of a catalogue of galaxies and of the images beside it, in small or capital letters."""


def run(project: Project) -> None:
    data, survey = project.data, project.survey.folder
    for name in FOLDERS:
        folder = f"{survey if '://' in survey else project.folder / survey}/{name}"
        _list(project, name, partial(listing.write, folder, memory=listing.memory(data, folder)))
    for own in (data.registry, data.judged):
        _list(project, own.name, partial(listing.write, str(own), memory=data.work("listing", f"{own.name}.jsonl")))
    files = dict(of_grid(project.values.get("grid"), project.folder))
    _list(project, "grid", partial(listing.write_files, files, memory=data.work("listing", "grid.jsonl")))


def _list(project: Project, name: str, write: Callable[..., None]) -> None:
    """A listing; if there are no files a single line, since DVC warns of files that are empty."""
    target = project.data.local / "listing" / f"{name}.jsonl"
    write(target=target)
    if not target.stat().st_size:
        atomic.write_text(target, NOTHING)


def of_grid(grid: Any, folder: Path) -> Iterator[tuple[str, Path]]:
    """The user's files that the section ``grid`` names, with their paths: a prior, galaxies as sources, a source model.

    The stage `grid` checks the section; values that it would refuse name no file here.
    """
    values = grid if isinstance(grid, Mapping) else {}
    prior, galaxies, model = (values.get(name) for name in ("prior", "real_sources", "source_model"))
    if isinstance(prior, str) and prior.endswith(_PRIORS):
        yield prior, folder / prior
    if isinstance(galaxies, Mapping) and isinstance(path := galaxies.get("path"), str):
        yield path, folder / path
        near = (folder / path).parent.glob("*") if path.lower().endswith(_IMAGES) else ()
        yield from ((str(Path(path).parent / file.name), file) for file in near if file.name.lower().endswith(_IMAGES))
    if isinstance(model, str):
        yield from ((model, place) for place in _source(model.partition(":")[0]))


def _source(module: str) -> Iterator[Path]:
    """The file of a module, if there is one."""
    try:
        spec = find_spec(module)
    except (Exception, SystemExit):  # noqa: BLE001 - the packages that it lies in are the user's code
        return
    if spec is not None and spec.has_location and spec.origin is not None:
        yield Path(spec.origin)
