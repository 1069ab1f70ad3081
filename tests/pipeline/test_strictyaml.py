"""Parameter files that are not what they look like: refused in a sentence, at once."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lake import yamltext
from lake.errors import ParameterError
from lake.files.strictyaml import read_mapping
from pipeline.project import params
from pipeline.project.generations import Wanted, enlist
from tests.pipeline.checkout import PROJECT

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{below}'] * 9)}]\n" for below, name in zip("abcdefghi", "bcdefghij", strict=True)
)
REFUSED = {
    "alias bomb": (BOMB.encode(), r"the alias \*a in line 2; write the value out"),
    "stands for itself": (b"a: &a\n  b: *a\n", r"the alias \*a in line 2"),
    "merged": (b"a: &a {b: 1}\nc:\n  <<: *a\n", r"the alias \*a in line 3"),
    "key twice": (b"pool:\n  min_nobs: 3\n  min_nobs: 1\n", "the key 'min_nobs' twice, again in line 3"),
    "section twice": (b"pool: {}\npool: {}\n", "the key 'pool' twice, again in line 2"),
    "infinite": (b"pool:\n  mag_z_max: .inf\n", r"the number \.inf in line 2, which is not finite"),
    "not a number": (b"pool: {mag_z_max: .NaN}\n", r"the number \.NaN in line 1"),
    "too large a number": (b"pool: {mag_z_max: 1.0e+999}\n", r"the number 1\.0e\+999 in line 1"),
    "number of 10,000 digits": (b"pool: {min_nobs: " + b"9" * 10_000 + b"}\n", "cannot be read as parameters"),
    "deep": (b"a: " + b"[" * 100_000, "more than 32 levels of nesting in line 1"),
    "UTF-16": ("pool: {}\n".encode("utf-16"), "byte order mark; save it as UTF-8"),
    "UTF-8 with a mark": (b"\xef\xbb\xbfpool: {}\n", "byte order mark; save it as UTF-8"),
    "Latin-1": ("survey: {name: Société}\n".encode("latin-1"), "'utf-8' codec can't decode"),
    "NUL": (b"pool: {}\0\n", "cannot be read as parameters"),
    "tabs": (b"pool:\n\tmin_nobs: 3\n", "cannot be read as parameters: .*found character"),
    "merge conflict": (b"<<<<<<< HEAD\npool: {}\n=======\npool: {}\n>>>>>>> b\n", "cannot be read as parameters"),
    "a list": (b"- 1\n- 2\n", "must be a mapping of sections, got 'list'"),
    "a word": (b"pool\n", "must be a mapping of sections, got 'str'"),
    "two documents": (b"a: 1\n---\nb: 2\n", "expected a single document"),
    "object": (b"a: !!python/object/apply:os.system [true]\n", "could not determine a constructor"),
    "key that is a list": (b"? [a, b]\n: 1\n", "a key that is not text in line 1"),
    "key that is a number": (b"1: 2\n", "a key that is not text after line 1"),
    "too large": (b"a: 1\n" * 300_000, "more than 1048576 bytes"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_be_read_otherwise_than_it_looks_is_refused(tmp_path: Path, kind: str) -> None:
    content, sentence = REFUSED[kind]
    path = tmp_path / "base.yaml"
    path.write_bytes(content)
    with pytest.raises(ParameterError, match=sentence) as caught:
        read_mapping(path)
    assert "base.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_infinities_are_refused_as_text_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for text in ("inf", "-Infinity", "nan"):
        values = {**yaml.safe_load((PROJECT / "params.yaml").read_text())["pool"], "mag_z_max": text}
        with pytest.raises(ParameterError, match=r"'pool\.mag_z_max' must be .*finite"):
            params.section_class("pool").load(values, "pool")


def test_plain_files_are_read_as_by_any_parser(tmp_path: Path) -> None:
    for path in [*(PROJECT / "params").glob("*.yaml"), PROJECT / "params.yaml"]:
        assert read_mapping(path) == yaml.safe_load(path.read_text())
    empty = tmp_path / "empty.yaml"
    empty.write_text("# nothing\n")
    assert read_mapping(empty) == {}
    with pytest.raises(ParameterError, match=r"none\.yaml cannot be read as parameters: no such file"):
        read_mapping(tmp_path / "none.yaml")
    with pytest.raises(ParameterError, match="it is not a regular file"):
        read_mapping(tmp_path)


def mutations() -> list[Callable[[list[str], random.Random], list[str]]]:
    """Changes of a file's lines."""
    words = ("null", "[]", "{}", "-1", "1e99", "~", "'x'", "[1, 2]", "true", "{a: 1}", ".5", "2001-01-01", "\x07", "é")

    def value(lines: list[str], rng: random.Random) -> list[str]:
        place = rng.randrange(len(lines))
        return [*lines[:place], lines[place].split(":")[0] + ": " + rng.choice(words), *lines[place + 1 :]]

    def drop(lines: list[str], rng: random.Random) -> list[str]:
        place = rng.randrange(len(lines))
        return lines[:place] + lines[place + rng.randrange(1, 5) :]

    def indent(lines: list[str], rng: random.Random) -> list[str]:
        place = rng.randrange(len(lines))
        return [
            *lines[:place],
            rng.choice((" ", "  ", "- ", "\t", "? ", "&a ", "# ")) + lines[place],
            *lines[place + 1 :],
        ]

    def byte(lines: list[str], rng: random.Random) -> list[str]:
        text = "\n".join(lines)
        place = rng.randrange(len(text))
        return (text[:place] + chr(rng.randrange(1, 256)) + text[place + 1 :]).split("\n")

    return [value, drop, indent, byte]


def fuzz(folder: Path, rounds: int) -> list[str]:
    """Mutate params.yaml and use it; what the refusals say. Any other error is one of the test."""
    whole = (PROJECT / "params.yaml").read_text().split("\n")
    rng, said = random.Random(rounds), []
    for _ in range(rounds):
        lines = whole
        for _ in range(rng.randrange(1, 4)):
            lines = rng.choice(mutations())(lines, rng)
        (folder / "params.yaml").write_text("\n".join(lines), encoding="utf-8")
        try:
            project = params.load(folder)
            for name in params.SECTIONS:
                params.section(project, name)
            for name in project.trained:
                params.section(project, "train", name)
            enlist(project, Wanted("demo2"))
        except ParameterError as error:
            said.append(str(error))
    return said


def test_mutated_parameters_are_refused_in_a_sentence(tmp_path: Path) -> None:
    said = fuzz(tmp_path, 25)
    assert len(said) > 8
    assert not [text for text in said if "\n" in text]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_mutated_parameters_are_refused_in_a_sentence(tmp_path: Path) -> None:
    said = fuzz(tmp_path, 2000)
    assert len(said) > 800
    assert not [text for text in said if "\n" in text]


def test_values_that_stand_in_several_places_are_written_out(tmp_path: Path) -> None:
    edges, path = [0.5, 1.0], tmp_path / "written.yaml"
    path.write_text(yamltext.text({"a": edges, "b": {"c": edges}}))
    assert read_mapping(path) == {"a": edges, "b": {"c": edges}}
