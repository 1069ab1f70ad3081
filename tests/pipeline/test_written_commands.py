"""Every `dhs ...` that a page, the README or a help text shows is one that the command line takes."""

from __future__ import annotations

import importlib.util
import inspect
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pipeline import cli
from tests.pipeline.checkout import PROJECT

PAGES = (PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")))
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = re.compile(r"Examples?:\s+(dhs .*?)(?:\n\n|\Z)", re.DOTALL)
FOLDERS = {"FOLDER", "cutouts", "des46", "DIR"}


@cache
def commands() -> dict[str, click.Command]:
    """Every command and subcommand by the words that call it."""

    def below(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        yield name, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for one in command.list_commands(context):
                found = command.get_command(context, one)
                assert found is not None
                yield from below(f"{name} {one}", found)

    return dict(below("dhs", cli.dhs))


def on_page(text: str) -> Iterator[tuple[str, bool]]:
    """The commands of a page, and whether each stands in a block, where a reader copies it whole."""
    text = text.partition("\n## Renamed\n")[0]
    for block in FENCED.findall(text):
        lines = re.sub(r"\\\n", " ", block)
        for found in re.findall(r'^(?:\$ )?(dhs (?:"[^"]*"|[^"\n])*)', lines, re.MULTILINE):
            yield from ((one.strip(), True) for one in found.split("&&"))
    for found in re.findall(r"`(dhs [^`]+)`", FENCED.sub("", text)):
        yield " ".join(found.split()), False


def takes(command: str, folder: Path) -> None:
    """Have click read a command, in a folder with the files that it names."""
    words = shlex.split(command.partition(" < ")[0], comments=True)[1:]
    for word in words:
        if word in FOLDERS or word.endswith("/"):
            (folder / word).mkdir(exist_ok=True)
        elif re.fullmatch(r"[\w./-]+\.(?:yaml|csv|json|onnx|pt|fits|sql)", word):
            (folder / word).parent.mkdir(exist_ok=True)
            (folder / word).touch()
    context, place = click.Context(cli.dhs), "dhs"
    while words and f"{place} {words[0]}" in commands():
        place = f"{place} {words.pop(0)}"
    command_here = commands()[place]
    if words and not words[0].startswith("-") and isinstance(command_here, click.Group):
        raise click.UsageError(f"no command '{words[0]}'")
    if words not in ([], ["--help"]) or not isinstance(command_here, click.Group):
        command_here.make_context(place, words, parent=context)


def problem(command: str, whole: bool, folder: Path) -> str | None:
    """Why a command is none; a sentence, unlike a block, may name one without its arguments or an option's value."""
    try:
        takes(command, folder)
    except click.ClickException as error:
        left_out = "requires" in error.message or isinstance(error, click.MissingParameter)
        return None if left_out and not whole else f"{command}: {error.format_message()}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_on_a_page_are_commands(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = dict.fromkeys(on_page(page.read_text()))
    assert [told for command, whole in shown if (told := problem(command, whole, tmp_path))] == []


def test_the_examples_of_help_texts_are_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = [" ".join(each.split()) for one in commands().values() for each in EXAMPLES.findall(one.help or "")]
    shown = [each for text in found for each in re.split(r";\s+|\s+(?=dhs )", text) if each.startswith("dhs ")]
    assert len(shown) > 50
    assert [told for command in shown if (told := problem(command, True, tmp_path))] == []


def test_every_command_and_option_says_what_it_does() -> None:
    for name, command in commands().items():
        assert command.help, name
        for option in (each for each in command.params if isinstance(each, click.Option)):
            told, value = f"{name} {option.name}", option.to_info_dict()["default"]
            assert option.help, told
            assert option.is_flag or option.show_default or not value, f"the default of {told} is not shown"


def test_targets_of_make_and_modules_on_the_pages_exist() -> None:
    text = "".join(page.read_text() for page in PAGES)
    targets = set(re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    renamed = {"check"}
    told = {
        *re.findall(r"`make ([\w-]+)", text),
        *re.findall(r"^make ([\w-]+)", "".join(FENCED.findall(text)), re.MULTILINE),
    }
    assert told - renamed <= targets
    modules = set(re.findall(r"python -m ([\w.]+)", text))
    assert {name for name in modules if importlib.util.find_spec(name) is None} == set()


def test_the_help_of_dhs_has_the_whole_summary_of_every_command() -> None:
    """Not cut off at the width of the terminal, so a newcomer can choose."""
    shown = " ".join(CliRunner().invoke(cli.dhs, ["--help"], prog_name="dhs").output.split())
    for name, command in commands().items():
        if name.count(" ") == 1:
            summary = " ".join(inspect.cleandoc(command.help or "").partition("\n\n")[0].split())
            assert f"{name.removeprefix('dhs ')} {summary}" in shown
