"""List the survey's files, the registry's records, the lists that people judged and the files that parameters name, at
every run: stages depend on the listings, and run again when a file's content changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from etl.files import listing
from pipeline.project.project import Project

FOLDERS = ("sweeps", "coadds")
SECTIONS = ("grid", "stamps", "trials", "diagnose")
"""Sections of the parameters that may name a prior of the user's own."""
_PRIORS = (".yaml", ".yml")
_IMAGES = ".fits"
"""Of a catalogue of galaxies and of the images beside it, in small or capital letters."""


def run(project: Project) -> None:
    data, survey, made = project.data, project.survey.folder, project.data.local / "listing"
    for name in FOLDERS:
        folder = f"{survey if '://' in survey else project.folder / survey}/{name}"
        listing.write(folder, made / f"{name}.jsonl", listing.memory(data, folder))
    for own in (data.registry, data.judged):
        listing.write(str(own), made / f"{own.name}.jsonl", data.work("listing", f"{own.name}.jsonl"))
    for section in SECTIONS:
        files = dict(named_files(project.values.get(section), project.folder))
        listing.write_files(files, made / f"{section}.jsonl", data.work("listing", f"{section}.jsonl"))


def named_files(section: Any, folder: Path) -> Iterator[tuple[str, Path]]:
    """The user's files that a section names, with their paths: priors, galaxies as sources, a source model.

    Its stage checks the section; values that it would refuse name no file here.
    """
    for name, value in section.items() if isinstance(section, Mapping) else ():
        if str(name).endswith(("prior", "priors")):
            priors = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
            yield from ((one, folder / one) for one in priors if isinstance(one, str) and one.endswith(_PRIORS))
        elif name == "real_sources" and isinstance(value, Mapping):
            yield from _galaxies(value.get("path"), folder)
        elif name == "source_model" and isinstance(value, str):
            yield from ((value, place) for place in _source(value.partition(":")[0]))
        else:
            yield from named_files(value, folder)


def _galaxies(path: Any, folder: Path) -> Iterator[tuple[str, Path]]:
    """A bank of galaxies, or their catalogue with the images beside it."""
    if isinstance(path, str):
        yield path, folder / path
        near = (folder / path).parent.glob("*") if path.lower().endswith(_IMAGES) else ()
        yield from ((str(Path(path).parent / file.name), file) for file in near if file.name.lower().endswith(_IMAGES))


def _source(module: str) -> Iterator[Path]:
    """The file of a module, if there is one."""
    try:
        spec = find_spec(module)
    except (Exception, SystemExit):  # noqa: BLE001 - the packages that it lies in are the user's code
        return
    if spec is not None and spec.has_location and spec.origin is not None:
        yield Path(spec.origin)
