"""``params.yaml``: found, read into a :class:`Project`, resolved from a base and overlays, changed.

One section per stage, named like the stage, plus ``survey``; a stage receives those two and nothing else. ``download``
is that of a command. Commands read
the file once; the modules below them get the project.
"""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake import yamltext
from lake.config import Section, overlaid
from lake.errors import ParameterError, UnknownParameterError, did_you_mean, invalid, not_one_of
from lake.files import atomic
from lake.files.strictyaml import read_mapping
from lake.names import checked_name
from lake.root import nearest_with
from pipeline.project import simulated
from pipeline.project.codecards import PROJECT
from pipeline.project.project import Project, of_another_version

if TYPE_CHECKING:
    from modeling.config import TrainParams

log = logging.getLogger(__name__)

FILE = "params.yaml"
_SOURCES = "params"
_PARAMETERS = (FILE, f"{_SOURCES}/base.yaml")

_GIVEN = re.compile(r"^def run\([^)]*\bparams: (\w+Params)\b", re.MULTILINE)


def _sections() -> dict[str, str]:
    """Where each section's class is, as the stages' ``run`` names it; to import the stages would take seconds."""
    found = {"survey": "lake.config:SurveyParams"}
    for stage in sorted((PROJECT / "pipeline" / "stages").glob("*.py")):
        text = stage.read_text(encoding="utf-8")
        for kind in _GIVEN.findall(text):
            module = re.findall(rf"^from ([\w.]+) import (?:[(][^)]*|.*)\b{kind}\b", text, re.MULTILINE)[0]
            found[stage.stem] = f"{module}:{kind}"
    del found["train"]
    found["download"] = "etl.config:DownloadParams"  # of a command
    return {**found, "diagnose": "analysis.diagnostics.discovery:DiagnoseParams"}  # gathered from the diagnostics


SECTIONS = _sections()
"""Where each section's class lives. ``train`` maps generations to their parameters and to what they start from, which
DVC needs as a dependency; ``audited`` lists the scorers whose completeness is measured."""

_MANIFESTS = ("manifest", "stamp_manifest", "hard_negatives")
"""Sections that declare manifests."""
_WRITTEN = ("train", "audited")
"""Sections without a class."""
_DERIVED = "simulated"
"""The section of ``params.yaml`` that follows from the others."""


def section_class(name: str) -> type[Section]:
    """The class of a section, imported on demand."""
    if name not in SECTIONS:
        raise not_one_of("section", (*SECTIONS, *_WRITTEN), name)
    module, attribute = SECTIONS[name].split(":")
    found: type[Section] = getattr(importlib.import_module(module), attribute)
    return found


def is_project(folder: Path) -> bool:
    """Whether a folder holds parameters, resolved or as sources."""
    return nearest(folder) == folder.resolve()


def nearest(start: Path) -> Path | None:
    """The folder, ``start`` or the nearest above it, that holds parameters, if there is one."""
    return nearest_with(start, *_PARAMETERS)


def find(start: Path) -> Path:
    """The folder of the project that ``start`` lies in: itself or the nearest above it that holds parameters."""
    folder = nearest(start)
    if folder is None:
        raise ParameterError(
            f"no {FILE} in {start.resolve()} or above it: run `dhs params use demo` in the project's folder, "
            "or name it with --project"
        )
    return folder


def load(folder: Path) -> Project:
    """The project in a folder, with its parameters as they are now."""
    if not (folder / FILE).exists():
        raise ParameterError(f"no {FILE} in {folder.resolve()}: run `dhs params use demo` in the project's folder")
    values = _with_checked_names(read_mapping(folder / FILE))
    try:
        _require_known(values, *_WRITTEN, _DERIVED)
    except UnknownParameterError as error:
        raise of_another_version(error, folder) from error
    return Project(folder, values)


def _require_known(values: Mapping[str, Any], *without_class: str) -> None:
    """Refuse a section that nothing reads, which would be a misspelt one."""
    known = (*SECTIONS, *without_class)
    for name in values:
        if name not in known:
            allowed = f"a known section ({', '.join(known)})"
            raise UnknownParameterError(f"{invalid(name, allowed, name)}{did_you_mean(name, known)}")


def overlays(folder: Path) -> list[str]:
    """Names of the parameter sets that ``dhs params use`` accepts."""
    return sorted(path.stem for path in (folder / _SOURCES).glob("*.yaml") if path.stem != "base")


def resolve(folder: Path, overlay: str) -> dict[str, Any]:
    """The complete, checked parameters of an overlay on the base, as plain values."""
    if overlay not in overlays(folder):
        raise not_one_of("params", overlays(folder), overlay)
    merged = overlaid(overlay, lambda name: read_mapping(folder / _SOURCES / f"{name}.yaml"))
    _require_known(merged, *_WRITTEN)
    resolved: dict[str, Any] = {}
    for name in merged:
        if name in SECTIONS and merged[name] is not None:
            resolved[name] = section_class(name).load(merged[name], name).model_dump(mode="json")
    _check_manifests(resolved)
    resolved["train"] = _resolve_generations(merged.get("train") or {}, own_generations(folder), resolved)
    resolved["audited"] = list(merged.get("audited") or resolved["train"])
    if "report" in resolved and resolved["audited"]:
        resolved["report"]["headline_generation"] = resolved["report"]["headline_generation"] or resolved["audited"][0]
    return _with_checked_names({**resolved, "simulated": simulated.needed(resolved)})


def write(folder: Path, values: Mapping[str, Any], overlay: str) -> None:
    """Write the resolved parameters to ``params.yaml``."""
    _write(
        folder,
        f"# Resolved from params/base.yaml and params/{overlay}.yaml by `dhs params use {overlay}`; edit those.\n",
        values,
    )


def use(folder: Path, overlay: str) -> list[str]:
    """Write the parameters of an overlay; finders added here stay audited, and are returned."""
    from modeling.scoring.card import FINDER

    values, before = resolve(folder, overlay), []
    if (folder / FILE).exists():
        try:
            before = Project(folder, _with_checked_names(read_mapping(folder / FILE))).audited
        except ParameterError as error:  # the file is about to be replaced
            log.warning("finders that %s lists are not kept: %s", FILE, error)
    data = Project(folder, values).data
    kept = [n for n in before if n not in values["audited"] and (data.checkpoints(n) / FINDER).exists()]
    write(folder, {**values, "audited": [*values["audited"], *kept]}, overlay)
    warn_of_contamination(values, values["audited"])
    return kept


def set_audited(project: Project, add: str | None = None, remove: str | None = None) -> bool:
    """Change which scorers are audited in ``params.yaml`` as it is now, and nothing else; whether that changed it."""
    now = load(project.folder)
    names = [name for name in now.audited if name != remove]
    names += [add] if add is not None and add not in names else []
    if names != now.audited:
        save(project.folder, {**now.values, "audited": names})
    return names != now.audited


def save(folder: Path, values: Mapping[str, Any]) -> None:
    """Write changed values to ``params.yaml``, under the line that says where it came from."""
    first = (folder / FILE).read_text(encoding="utf-8").partition("\n")[0]
    _write(folder, f"{first}\n" if first.startswith("#") else "", values)


def _write(folder: Path, head: str, values: Mapping[str, Any]) -> None:
    complete = {**values, "simulated": simulated.needed(values)} if "stamp_manifest" in values else values
    atomic.write_text(folder / FILE, head + yamltext.text(dict(complete), width=110))


def generation_entry(parameters: TrainParams, values: Mapping[str, Any]) -> dict[str, Any]:
    """A generation's entry in ``train``: its parameters, and DVC's dependencies: what it starts from, the card of its
    manifest, and the pixels that this names. ``values`` are the other sections.
    """
    start = f"data/checkpoints/{parameters.init}" if parameters.init else simulated.NO_FILE
    chosen = simulated.stamp_set(values, parameters.manifest)
    table, pixels = ("manifest", "data/cutouts") if chosen is None else ("stamp_manifest", f"data/stamps/{chosen}")
    needed = {"ancestor": start, "manifest": f"data/cards/{table}.{parameters.manifest}.json", "pixels": pixels}
    return {**needed, "parameters": parameters.model_dump(mode="json")}


def warn_of_contamination(values: Mapping[str, Any], names: Iterable[str]) -> None:
    """Warn about trained generations that select on the test galaxies that finders are audited on."""
    audit = values["survey"]["audit_manifest"]
    merged = {name for name, spec in values["manifest"]["manifests"].items() if spec["merge_test_into_val"]}
    for name in names:
        chain = _ancestry(values["train"], name)
        guilty = [one for one in chain if values["train"][one]["parameters"]["manifest"] in merged - {audit}]
        if guilty:
            log.warning(
                "%s selects on test galaxies of %s (through the validation split of %s): its test figures, and "
                "the completeness at thresholds whose rate they are, will be refused",
                name,
                audit,
                " and ".join(guilty),
            )


def _ancestry(train: Mapping[str, Any], name: str | None) -> list[str]:
    chain: list[str] = []
    while name is not None and name in train and name not in chain:
        chain.append(name)
        name = train[name]["parameters"]["init"]
    return chain


def section(project: Project, name: str, generation: str | None = None) -> Section:
    """One stage's parameters; training has one set per generation."""
    if name != "train":
        return project.section(section_class(name), name)
    if generation not in project.trained:
        raise invalid("generation", f"one of {', '.join(project.trained)} (`dhs train NAME` adds another)", generation)
    from modeling.config import TrainParams

    return project.section(TrainParams, f"train.{generation}.parameters")


def own_generation(folder: Path, name: str) -> Path:
    """The file of a generation of the project's own."""
    return folder / _SOURCES / "generations" / f"{name}.yaml"


def own_generations(folder: Path) -> dict[str, dict[str, Any]]:
    """Overlays in ``params/generations``, by name; none may hide one that the package ships."""
    from modeling.config import generations

    files = sorted(own_generation(folder, "any").parent.glob("*.yaml"))
    for path in files:
        if path.stem in (*generations(), "base"):
            raise invalid(str(path), "a file with another name, which the package does not use", path.stem)
    return {path.stem: read_mapping(path) for path in files}


def _check_manifests(values: Mapping[str, Any]) -> None:
    """Refuse manifests of one name, and those whose plan, set or base is not declared."""
    known = {name: dict(values.get(name, {}).get("manifests", {})) for name in _MANIFESTS}
    names = [name for section in known.values() for name in section]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise invalid("manifests", f"named differently in {', '.join(_MANIFESTS)}", repeated[0])
    plans, sets = values.get("plan", {}).get("plans", {}), values.get("stamps", {}).get("sets", {})
    for name, spec in sets.items():
        if spec["plan"] not in plans:
            raise not_one_of(f"stamps.sets.{name}.plan", plans, spec["plan"])
    for name, spec in known["stamp_manifest"].items():
        if spec["set_name"] not in sets:
            raise not_one_of(f"stamp_manifest.manifests.{name}.set_name", sets, spec["set_name"])
    for name, spec in known["hard_negatives"].items():
        if simulated.stamp_set(values, name) is None:
            allowed = [*known["stamp_manifest"], *known["hard_negatives"]]
            raise not_one_of(f"hard_negatives.manifests.{name}.base", allowed, spec["base"])
    for name in values.get("stamp_manifest", {}).get("made_anyway", ()):
        if simulated.stamp_set(values, name) is None:
            allowed = [*known["stamp_manifest"], *known["hard_negatives"]]
            raise not_one_of("stamp_manifest.made_anyway", allowed, name)


def _resolve_generations(
    wanted: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any]
) -> dict[str, Any]:
    from modeling.config import resolve_generation

    resolved = {}
    for name, changes in wanted.items():
        if changes is None:
            continue
        parameters = resolve_generation(name, changes, own)
        if parameters.init is not None and wanted.get(parameters.init) is None:
            raise invalid(
                f"train.{name}.init", f"a generation that is trained too ({', '.join(wanted)})", parameters.init
            )
        resolved[name] = generation_entry(parameters, values)
    return resolved


def _with_checked_names(values: dict[str, Any]) -> dict[str, Any]:
    """The values, if every finder's name is safe for DVC to put into paths and commands."""
    for name in values.get("train") or {}:
        checked_name(name, "train")
    audited = values.get("audited") or []
    if not isinstance(audited, list):
        raise invalid("audited", "a list of names", audited)
    for name in audited:
        checked_name(name, "audited")
    return values
