"""Links of the README and of the pages lead to files and headings that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = _BLOCK.sub("", page.read_text())
    plain = (re.sub(r"[`*]", "", heading).lower() for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE))
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in plain}


def broken(page: Path) -> list[str]:
    """Links of a page to what is not there."""
    links = [one for one in _LINK.findall(_BLOCK.sub("", page.read_text())) if "://" not in one]
    places = [
        (one, page.parent / name if name else page, anchor) for one in links for name, _, anchor in [one.partition("#")]
    ]
    return [one for one, file, anchor in places if not file.exists() or (anchor and anchor not in anchors(file))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_link_to_nowhere_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `heading` (of one)\n[good](#a-heading-of-one) [file](gone.md) [heading](page.md#gone)\n")
    assert broken(page) == ["gone.md", "page.md#gone"]
