"""The base of every configuration section: frozen, strict, documented."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache, reduce
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lake.addresses import is_remote, plain
from lake.errors import ParameterError, UnknownParameterError, did_you_mean, invalid, not_one_of
from lake.names import PATTERN


class Section(BaseModel):
    """A frozen group of parameters; unknown keys are errors and the line under a field is its documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_value_as_number(cls, values: Any) -> Any:
        """Refuse yes, no, true and false for numbers: pydantic takes them for 1 and 0."""
        for name, value in values.items() if isinstance(values, Mapping) else ():
            if name in cls.model_fields and _has_truth_value(value):
                kinds = set(_kinds(cls.model_fields[name].annotation))
                if kinds & {int, float} and bool not in kinds:
                    raise invalid(name, "a number", value)
        return values

    @classmethod
    def load(cls, values: Mapping[str, Any], where: str) -> Self:
        """Build the section from plain values; errors name the parameter as ``<where>.<key>``."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise _teach(error, where, cls) from error

    def digest(self, exclude: set[str] | None = None) -> str:
        """Hash of the resolved values but the excluded ones, independent of the order of keys."""
        text = json.dumps(self.model_dump(mode="json", exclude=exclude), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _has_truth_value(value: Any) -> bool:
    """Whether a plain value is yes, no, true or false, or holds one."""
    if isinstance(value, Mapping):
        value = list(value.values())
    return any(map(_has_truth_value, value)) if isinstance(value, list | tuple) else isinstance(value, bool)


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types that a type is made of."""
    parts = get_args(annotation)
    yield from (each for part in parts for each in _kinds(part)) if parts else [annotation]


def documentation(section: type[BaseModel]) -> dict[str, str]:
    """What each parameter of a section means, on one line: the text below it in the source.

    It is read when asked for: pydantic would read it for every section that is imported, which takes 0.1 s per command.
    """
    found: dict[str, str] = {}
    for each in reversed(section.__mro__):
        with suppress(OSError, TypeError):  # a built-in class, or one without a source
            found |= _classes(inspect.getfile(each)).get(each.__qualname__, {})
    return {name: found[name] for name in section.model_fields if name in found}


@cache
def _classes(source: str) -> dict[str, dict[str, str]]:
    """The documented fields of each class of a source file, by the qualified names of the classes."""
    return dict(_inside(ast.parse(Path(source).read_bytes()), ""))


def _inside(node: ast.AST, path: str) -> Iterator[tuple[str, dict[str, str]]]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.ClassDef(name=name):
                yield f"{path}{name}", dict(_documented(child))
                yield from _inside(child, f"{path}{name}.")
            case ast.FunctionDef(name=name):
                yield from _inside(child, f"{path}{name}.<locals>.")


def _documented(source: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in pairwise(source.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                yield name, " ".join(words.split())


_IN_OUR_WORDS = (
    ("^Input should be |^Value error, must be |, unable to .*| or (instance|object) .*| after validation.*", ""),
    (" should have ", " with "),
    (" should match pattern ", " of the form "),
    ("^(Tuple|List)|a valid tuple", "a list"),
    ("^String", "a string"),
)
"""Pydantic's messages as the end of ``must be``."""
_TYPE = re.compile(r"^(float|str|int|bool)$|\[")
"""What pydantic calls the types of a value that may be of several."""


def _teach(error: ValidationError, where: str, section: type[BaseModel]) -> ParameterError:
    first, *others = _of_one_value(list(error.errors()))
    name = ".".join([where, *map(str, _place(first))])
    if first["type"] == "extra_forbidden":
        *place, got = first["loc"]
        known = sorted(_fields(section, place))
        allowed = f"one of the known parameters ({', '.join(known)})"
        return UnknownParameterError(f"{invalid(name, allowed, got)}{did_you_mean(got, known)}")
    if first["type"] == "union_tag_invalid":
        given = first["ctx"]
        known = [tag.strip("' ") for tag in given["expected_tags"].split(",")]
        return not_one_of(f"{name}.{given['discriminator'].strip(chr(39))}", known, given["tag"])
    if first["type"] == "union_tag_not_found":
        return ParameterError(f"'{name}.{first['ctx']['discriminator'].strip(chr(39))}' is missing")
    if first["type"] == "missing":
        return ParameterError(f"'{name}' is missing")
    if isinstance(inner := first.get("ctx", {}).get("error"), ParameterError):  # of a section inside, in our words
        return type(inner)(f"{name}: {inner}")
    allowed = " or ".join(dict.fromkeys(_in_our_words(each["msg"]) for each in (first, *others)))
    got = first.get("input")
    known = re.findall("'([^']+)'", first["ctx"]["expected"]) if first["type"] == "literal_error" else []
    return ParameterError(f"{invalid(name, allowed, got)}{did_you_mean(got, known)}")


def _in_our_words(message: str) -> str:
    return reduce(lambda text, words: re.sub(words[0], words[1], text), _IN_OUR_WORDS, message)


def _place(error: Any) -> list[int | str]:
    """Where a value is, without the types that it may be of (``fill.float``)."""
    return [part for part in error["loc"] if not (isinstance(part, str) and _TYPE.search(part))]


def _of_one_value(found: list[Any]) -> list[Any]:
    """The first error; of a value that may be of several types, that of each, for its innermost part that is wrong."""
    first = _place(found[0])
    alike = [each for each in found if _place(each)[: len(first)] == first and len(first) < len(found[0]["loc"])]
    inner = max(map(_place, alike), key=len, default=None)
    return [each for each in alike if _place(each) == inner] or found[:1]


def _fields(section: type[BaseModel], place: Iterable[int | str]) -> Iterable[str]:
    """Names of the parameters of the section within a section; places in lists are passed over."""
    for part in place:
        field = section.model_fields.get(str(part))
        section = section if field is None else next(_sections(field.annotation), section)
    return section.model_fields


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """Sections that a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections(part)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values with others on top; mappings are merged key by key, anything else is replaced."""
    found = dict(below)
    for key, value in above.items():
        old = found.get(key)
        found[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return found


def overlaid(name: str, read: Callable[[str], Mapping[str, Any]], above: tuple[str, ...] = ()) -> dict[str, Any]:
    """Plain values of the base and of the overlays along ``based_on``, with ``name`` on top.

    ``above`` are overlays on top of it: ParameterError where one of them comes again below.
    """
    if name in above:
        raise invalid(f"based_on of {above[-1]}", "an overlay that is not based on it", name)
    changes = dict(read(name))
    below = changes.pop("based_on", None)
    return merged(overlaid(below, read, (*above, name)) if below else read("base"), changes)


Seed = Annotated[int, Field(ge=0, lt=2**31)]
"""What random numbers are derived from."""
Name = Annotated[str, Field(pattern=f"^{PATTERN}$")]
"""A name that becomes part of paths and slices."""


def _ascending(shares: tuple[float, float]) -> tuple[float, float]:
    if not 0.0 <= shares[0] <= shares[1] < 1.0:
        raise ValueError("must be two ascending numbers from 0 to below 1")
    return shares


LensShares = Annotated[tuple[float, float], AfterValidator(_ascending)]
"""A declared range of unlisted lenses per negative: fewest and most."""


class SplitParams(Section):
    """How the sky is divided into train, val and test."""

    seed: Seed
    """Seed of the pixel hash."""
    train_below: float
    """Pixels whose hash is below this are training pixels."""
    val_below: float
    """Pixels whose hash is at or above ``train_below`` and below this are validation pixels; 1 leaves no test split."""
    threshold_share: float = Field(gt=0, lt=1)
    """Share of the validation sky whose negatives fix thresholds; the others are hosts of injections."""
    negatives_nside: Literal[128, 256, 512, 1024, 2048, 4096]
    """HEALPix nside of the pixels that divide the validation negatives."""


def _without_slash(folder: str) -> str:
    """A folder to whose name those of files are added: in an object store a second slash would be part of the name."""
    return plain(folder) if is_remote(folder) else folder.rstrip("/") or folder


Address = Annotated[str, AfterValidator(plain)]
"""A prefix of an object store."""


ListColumn = Literal["name", "ra", "dec", "z_lens", "grading", "reference", "type", "theta_e"]


class CandidateListParams(Section):
    """How the list of known and candidate lenses is written, and which of its rows are lenses."""

    file: str = Field(pattern=r"^[^/\\]+$")
    """Its name in the survey's folder: text, or a table by its ending (.fits, .vot, .xml, .mrt, .ecsv)."""
    columns: dict[ListColumn, str | Annotated[int, Field(ge=1)] | tuple[str | Annotated[int, Field(ge=1)], ...]]
    """What our columns (name, ra, dec, z_lens, grading, reference, type, theta_e) are called there, if not as usual; or
    their numbers from 1, all of them, in a text without a header line. Several are put together (RAh, RAm, RAs)."""
    separator: Literal["comma", "semicolon", "tab", "bar", "spaces"] | None
    """What separates the cells of a text, or null for the first of these that fits."""
    ra_unit: Literal["degrees", "hours"]
    """Unit of a right ascension that is a plain number."""
    grading: str | None
    """Grade of the rows that have none: of all rows of a list without such a column."""
    types: tuple[str, ...] | None
    """Only candidates of these types are lenses (``galaxy``, ``group``, ``cluster``), or null for all. No negative is
    taken near the others, either."""
    references: str | None
    """Only candidates whose reference matches this regular expression are lenses, or null for all."""

    @field_validator("references")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"must be a regular expression ({error})") from error
        return value


class SurveyParams(Section):
    """Parameters that all stages share."""

    name: str
    """Name of the survey, as shown in reports. Tables belong to the survey of this name and are read for no other."""
    simulated: bool
    """Whether the pixels are simulated; every page that shows results then says so."""
    folder: Annotated[str, AfterValidator(_without_slash)]
    """Input folder or prefix (s3://bucket/prefix): ``sweeps/`` (FITS tables), ``coadds/``, ``survey-bricks.fits`` and
    ``candidates.csv`` (``candidate_list.file``)."""
    collection: str
    """Prefix of every galaxy_id: the release the sources come from."""
    seed: Seed
    """Seed from which every stage derives its own."""
    split: SplitParams
    """The spatial split."""
    audit_manifest: Name
    """Manifest whose splits every finder is evaluated and audited on."""
    data_root: str
    """Folder of cards, cut-outs, checkpoints, partial work and, unless ``lake_uri`` is given, the tables."""
    compile_queries: bool
    """Whether Spark compiles its queries, adapts them as they run and cuts them into pieces; for a survey of a few
    thousand galaxies that does not pay off."""
    lake_uri: Address | None
    """Object-store prefix of the Delta tables (s3://bucket/prefix), or null for ``<data_root>/lake``."""
    work_uri: Address | None
    """Object-store prefix of partial work that Spark's tasks write (s3://bucket/prefix), or null for
    ``<data_root>/work``, which every machine of a cluster must then reach."""
    shards_uri: Address | None
    """Object-store prefix of the stamps (s3://bucket/prefix), or null for ``<data_root>/cutouts`` and ``stamps``; with
    a prefix these folders hold lists of shards, and readers keep copies in the folder of partial work."""
    candidate_list: CandidateListParams
    """How the list of candidates is written."""
    grades: dict[str, Literal["A", "B"]] = Field(min_length=1)
    """Tiers of the words in the column 'grading' of ``candidates.csv`` (case-insensitive): A confirmed by spectroscopy
    or HST, B graded by eye. A position with any other grade is neither a negative nor a lens."""
