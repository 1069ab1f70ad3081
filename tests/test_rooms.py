"""Folders say what they import, and the map in docs/architecture.md names every folder and module."""

import ast
import re
from pathlib import Path

import pytest

from pipeline.project.codecards import PACKAGES
from tests.sourcecode import Uses

ROOT = Path(__file__).resolve().parents[1]
ROOMS = sorted(
    path.parent.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("__init__.py")
)
PAGE = (ROOT / "docs/architecture.md").read_text()


def _room(module: str, siblings: bool) -> str | None:
    """``package.room`` of a module that lies in one, or its package."""
    parts = module.split(".")
    if parts[0] not in PACKAGES:
        return None
    if not siblings:
        return parts[0]
    return ".".join(parts[:2]) if "/".join(parts[:2]) in ROOMS else None


def _imported(room: str, used: Uses) -> set[str]:
    """Packages that a package imports, or rooms of its own package that a room imports."""
    siblings = "/" in room
    files = (ROOT / room).rglob("*.py")
    found = {_room(module, siblings) for file in files for module in used(file).imports}
    inside = {name for name in found if name is not None and (not siblings or name.split(".")[0] == room.split("/")[0])}
    return inside - {room.replace("/", ".")}


def _stated(room: str) -> set[str]:
    """What the first line of a folder says that it imports."""
    first = (ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text())) or "").partition("\n")[0]
    said = first.partition("Imports ")[2]
    assert said, f"{room}/__init__.py must say in its first line what it imports"
    package = room.split("/")[0]
    others = {each.replace("/", ".") for each in ROOMS if each.split("/")[0] == package and "/" in each} - {
        room.replace("/", ".")
    }
    if said.startswith("every package"):
        return set(PACKAGES) - {room}
    if said.startswith("every"):
        return others - {f"{package}.{name}" for name in re.findall(r"``(\w+)``", said.partition(" but ")[2])}
    if said.startswith("no "):
        return set()
    named = set(re.findall(r"``([\w.]+)``", said))
    return named - {"lake"} if "/" in room else named


def test_a_folder_says_which_folders_it_imports(used: Uses) -> None:
    assert {room: _stated(room) for room in ROOMS} == {room: _imported(room, used) for room in ROOMS}


OF_ONE_KIND = ("lake/tables", "pipeline/stages", "analysis/diagnostics")
"""Rooms whose modules are named like what they are of: a table, a stage or a diagnostic. The map need not name each."""
MOST_MODULES = 16
_DOTTED = re.compile(r"`((?:lake|etl|injection|modeling|analysis|demo|pipeline)(?:\.\w+)+)`")
ROWS = {row[1]: row for row in re.findall(r"^(\| `([\w/]+)` \| (.+) \| (.*) \|)$", PAGE, re.MULTILINE)}


def test_the_map_has_every_room() -> None:
    assert set(ROWS) == set(ROOMS)


def test_the_map_has_every_module_of_a_room_and_no_other() -> None:
    modules = {room: {path.stem for path in (ROOT / room).glob("*.py") if path.stem[0] != "_"} for room in ROOMS}
    named = {room: set(re.findall(r"`(\w+)`", ROWS[room][2])) - {"SPEC"} for room in ROOMS}
    wrong = {room: named[room] - modules[room] for room in ROOMS}
    wrong |= {room: named[room] ^ modules[room] for room in ROOMS if room not in OF_ONE_KIND}
    assert not {room: names for room, names in wrong.items() if names}


def test_the_map_says_what_a_room_imports(used: Uses) -> None:
    assert {room: _said(room) for room in ROOMS} == {room: _imported(room, used) for room in ROOMS}


def _said(room: str) -> set[str]:
    """What the map says that a room imports."""
    package, cell = room.split("/")[0], ROWS[room][3]
    if "/" not in room:
        said = set(PACKAGES) - {room} if cell == "all packages" else set(re.findall(r"`(\w+)`", cell))
    elif cell.startswith("all"):
        left = re.findall(r"\w+", cell.partition(" but ")[2])
        said = {each.replace("/", ".") for each in ROOMS if each.startswith(f"{package}/")}
        said -= {room.replace("/", "."), *(f"{package}.{name}" for name in left)}
    else:
        said = {f"{package}.{name}" for name in re.findall(r"\w+", cell) if name != "none"}
    return said


def test_the_map_names_things_that_exist() -> None:
    dotted = _DOTTED.findall(PAGE)
    assert len(dotted) > 30
    assert not [name for name in dotted if not _exists(name)]


def test_what_the_glossary_calls_renamed_exists() -> None:
    renamed = (ROOT / "docs/glossary.md").read_text().partition("\n## Renamed\n")[2]
    new = [name for row in renamed.splitlines() for name in _DOTTED.findall(row.rpartition(" | ")[2])]
    assert len(new) > 20
    assert not [name for name in new if not _exists(name)]


def _exists(dotted: str) -> bool:
    """Whether a module or folder, or a name in one, is there."""
    parts = dotted.split(".")
    for depth in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:depth])
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if file.is_file():
            return _names(file) >= set(parts[depth:])
    return False


def _names(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    made = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.alias)}
    return made | {node.id for node in nodes if isinstance(node, ast.Name)}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_of_a_package_is_longer_than_300_lines(package: str) -> None:
    lengths = {str(file): len(file.read_text().splitlines()) for file in (ROOT / package).rglob("*.py")}
    assert not {file: lines for file, lines in lengths.items() if lines > 300}


def test_a_folder_holds_few_modules_unless_all_are_of_one_kind() -> None:
    rooms = set(ROOMS) - set(OF_ONE_KIND)
    counts = {room: len([path for path in (ROOT / room).glob("*.py") if path.stem != "__init__"]) for room in rooms}
    assert not {room: count for room, count in counts.items() if count > MOST_MODULES}
