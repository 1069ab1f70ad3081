"""Parameters: a base and small overlays under ``params/``, resolved into one strict ``params.yaml``.

One section per stage, named like the stage, plus ``survey``; a stage receives those two and nothing else.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from lake.config import Section, SurveyParams
from lake.errors import ParameterError, invalid
from lake.names import checked_name
from lake.root import DataRoot
from lake.store.cards import write_atomically
from pipeline.project.strictyaml import read_mapping

if TYPE_CHECKING:
    from modeling.config import TrainParams

log = logging.getLogger(__name__)

SectionT = TypeVar("SectionT", bound=Section)

PARAMS_FILE = Path("params.yaml")
SOURCES = Path("params")

SECTIONS: dict[str, str] = {
    "survey": "lake.config:SurveyParams",
    "demo": "demo.config:DemoParams",
    "pool": "etl.config:PoolParams",
    "candidates": "etl.config:CandidatesParams",
    "negatives": "etl.config:NegativesParams",
    "cutouts": "etl.config:CutoutsParams",
    "manifest": "etl.config:ManifestParams",
    "evaluate": "analysis.config:EvaluateParams",
    "grid": "injection.config:GridParams",
    "completeness": "analysis.config:CompletenessParams",
    "diagnose": "analysis.config:DiagnoseParams",
    "report": "analysis.config:ReportParams",
}
"""Where each section's class lives. ``train`` maps generations to their parameters and to what they start from, which
DVC needs as a dependency; ``audited`` lists the scorers whose completeness is measured."""


def section_class(name: str) -> type[Section]:
    """The class of a section, imported on demand."""
    if name not in SECTIONS:
        raise invalid("section", f"one of {', '.join((*SECTIONS, 'train', 'audited'))}", name)
    module, attribute = SECTIONS[name].split(":")
    found: type[Section] = getattr(importlib.import_module(module), attribute)
    return found


def overlays() -> list[str]:
    """Names of the parameter sets that ``dhs params use`` accepts."""
    return sorted(path.stem for path in SOURCES.glob("*.yaml") if path.stem != "base")


def resolve(overlay: str) -> dict[str, Any]:
    """The complete, checked parameters of an overlay on the base, as plain values."""
    merged = _overlaid(overlay)
    unknown = sorted(set(merged) - set(SECTIONS) - {"train", "audited"})
    if unknown:
        raise invalid(unknown[0], f"a known section ({', '.join((*SECTIONS, 'train', 'audited'))})", unknown[0])
    resolved: dict[str, Any] = {}
    for name in SECTIONS:
        if merged.get(name) is not None:
            resolved[name] = section_class(name).load(merged[name], name).model_dump(mode="json")
    resolved["train"] = _resolve_generations(merged.get("train") or {})
    resolved["audited"] = list(merged.get("audited") or resolved["train"])
    if "report" in resolved and resolved["audited"]:
        resolved["report"]["headline_generation"] = resolved["report"]["headline_generation"] or resolved["audited"][0]
    return _with_checked_names(resolved)


def write(values: Mapping[str, Any], overlay: str) -> None:
    """Write the resolved parameters to ``params.yaml``."""
    head = f"# Resolved from params/base.yaml and params/{overlay}.yaml by `dhs params use {overlay}`; edit those.\n"
    write_atomically(PARAMS_FILE, head + yaml.safe_dump(dict(values), sort_keys=False, width=110))


def use(overlay: str) -> list[str]:
    """Write the parameters of an overlay; finders added here stay audited, and are returned."""
    from modeling.scoring.card import FINDER

    values = resolve(overlay)
    before = _audited_before()
    survey = SurveyParams.load(values["survey"], "survey")
    folders = DataRoot.of(survey.data_root, survey.lake_uri)
    kept = [n for n in before if n not in values["audited"] and (folders.checkpoints(n) / FINDER).exists()]
    write({**values, "audited": [*values["audited"], *kept]}, overlay)
    warn_of_contamination(values, values["audited"])
    return kept


def _audited_before() -> list[str]:
    """Names audited by the present file; none if it cannot be read (it is about to be replaced)."""
    try:
        return list(load_file().get("audited") or [])
    except ParameterError as error:
        if PARAMS_FILE.exists():
            log.warning("finders that %s lists are not kept: %s", PARAMS_FILE, error)
        return []


def set_audited(names: Sequence[str]) -> None:
    """Change in ``params.yaml`` which scorers are audited, and nothing else."""
    save({**load_file(), "audited": list(names)})


def save(values: Mapping[str, Any]) -> None:
    """Write changed values to ``params.yaml``, under the line that says where it came from."""
    first = PARAMS_FILE.read_text(encoding="utf-8").partition("\n")[0]
    head = f"{first}\n" if first.startswith("#") else ""
    write_atomically(PARAMS_FILE, head + yaml.safe_dump(dict(values), sort_keys=False, width=110))


def generation_entry(parameters: TrainParams) -> dict[str, Any]:
    """A generation's entry in ``train``: its parameters, and what it starts from as DVC's dependency."""
    name = parameters.generation
    start = f"data/checkpoints/{parameters.init}" if parameters.init else f"modeling/generations/{name}.yaml"
    return {"ancestor": start, "parameters": parameters.model_dump(mode="json")}


def warn_of_contamination(values: Mapping[str, Any], names: Iterable[str]) -> None:
    """Warn about trained generations that select on the test galaxies that finders are audited on."""
    audit = values["survey"]["audit_manifest"]
    merged = {spec["manifest_id"] for spec in values["manifest"]["manifests"] if spec["merge_test_into_val"]}
    for name in names:
        chain = _ancestry(values["train"], name)
        guilty = [one for one in chain if values["train"][one]["parameters"]["manifest"] in merged - {audit}]
        if guilty:
            log.warning(
                "%s selects on test galaxies of %s (through the validation split of %s): its test figures will be "
                "marked as contaminated",
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


def load_file() -> dict[str, Any]:
    """The values of ``params.yaml``."""
    if not PARAMS_FILE.exists():
        raise ParameterError(f"no {PARAMS_FILE} in {Path.cwd()}: run `dhs params use demo` in the project's folder")
    return _with_checked_names(read_mapping(PARAMS_FILE))


def survey() -> SurveyParams:
    """The section that all stages share."""
    return SurveyParams.load(_section(load_file(), "survey"), "survey")


def section(name: str, generation: str | None = None) -> Section:
    """One stage's parameters; training has one set per generation."""
    values = load_file()
    if name != "train":
        return section_class(name).load(_section(values, name), name)
    generations = _section(values, "train")
    if generation is None or generation not in generations:
        raise invalid("generation", f"one of {', '.join(generations)} (`dhs train NAME` adds another)", generation)
    from modeling.config import TrainParams

    return TrainParams.load(_section(generations[generation], "parameters"), f"train.{generation}.parameters")


def typed(kind: type[SectionT], name: str) -> SectionT:
    """One stage's parameters as the class that is known to hold them."""
    return kind.load(_section(load_file(), name), name)


def _overlaid(overlay: str) -> dict[str, Any]:
    if overlay not in overlays():
        raise invalid("params", f"one of {', '.join(overlays())}", overlay)
    changes = read_mapping(SOURCES / f"{overlay}.yaml")
    below = changes.pop("based_on", None)
    return _merge(_overlaid(below) if below else read_mapping(SOURCES / "base.yaml"), changes)


def _resolve_generations(wanted: Mapping[str, Any]) -> dict[str, Any]:
    from modeling.config import resolve_generation

    resolved = {}
    for name, changes in wanted.items():
        if changes is None:
            continue
        parameters = resolve_generation(name, changes)
        if parameters.init is not None and wanted.get(parameters.init) is None:
            raise invalid(
                f"train.{name}.init", f"a generation that is trained too ({', '.join(wanted)})", parameters.init
            )
        resolved[name] = generation_entry(parameters)
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


def _section(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if not isinstance(values.get(name), Mapping):
        raise invalid(name, f"a section of {PARAMS_FILE} (run `dhs params use <set>`)", values.get(name))
    found: Mapping[str, Any] = values[name]
    return found


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        known = merged.get(key)
        merged[key] = _merge(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return merged


def root() -> DataRoot:
    """The data root that ``params.yaml`` names."""
    values = survey()
    return DataRoot.of(values.data_root, values.lake_uri)
