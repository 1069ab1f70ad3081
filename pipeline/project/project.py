"""The project that a command works on: its folder, and its parameters as they were read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from lake.config import Section, SurveyParams
from lake.errors import UnknownParameterError, invalid
from lake.root import DataRoot

SectionT = TypeVar("SectionT", bound=Section)


@dataclass(frozen=True)
class Project:
    """A folder and its parameters, read once (``pipeline.project.params.load``) and passed on."""

    folder: Path
    values: Mapping[str, Any]
    """Sections of ``params.yaml`` as plain values."""

    @cached_property
    def survey(self) -> SurveyParams:
        """The section that all stages share."""
        return self.section(SurveyParams, "survey")

    @cached_property
    def data(self) -> DataRoot:
        """Where cards, tables and blobs lie; tables made for another survey are not read."""
        return DataRoot.of(self.folder / self.survey.data_root, self.survey.lake_uri, self.survey.name)

    @property
    def digest(self) -> str:
        """Hash of all parameters, independent of the order of keys."""
        text = json.dumps(self.values, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def audited(self) -> list[str]:
        """Names of the finders whose completeness is measured."""
        return [str(name) for name in self.values.get("audited") or []]

    @property
    def trained(self) -> list[str]:
        """Names of the generations that are trained here."""
        return list(self.values.get("train") or {})

    def section(self, kind: type[SectionT], name: str) -> SectionT:
        """One stage's parameters as their class; with dots, a section within a section.

        ParameterError where there is none, or where one of its values is not allowed.
        """
        found: Any = self.values
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            raise invalid(name, "a section of params.yaml (run `dhs params use <set>`)", found)
        try:
            return kind.load(found, name)
        except UnknownParameterError as error:
            raise of_another_version(error, self.folder) from error


def of_another_version(error: UnknownParameterError, folder: Path) -> UnknownParameterError:
    """The error of a name in params.yaml that nothing reads, with the command that writes the file anew."""
    try:
        used = re.match(r"# .*`(dhs params use [\w.-]+)`", (folder / "params.yaml").read_text(encoding="utf-8"))
    except OSError:
        used = None
    command = used[1] if used else "dhs params use NAME"
    cure = f"`{command}` writes it anew, and keeps the finders that were added"
    return UnknownParameterError(f"{error} (if another version of dhs wrote params.yaml: {cure})")
