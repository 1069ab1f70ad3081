"""Small SVG for inside a page: text as text, ink in the page's own colour, names that no other figure uses."""

from __future__ import annotations

import hashlib
import re

_PROLOGUE = re.compile(r"\A.*?(?=<svg)", re.S)
_METADATA = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->", re.S)
_TAG = re.compile(r"<[^<>]+>")
_LONG = re.compile(r"-?\d+\.\d{3,}")
_ID = re.compile(r' id="([^"]*)"')
_REFERENCE = re.compile(r'(?:url\(#|href="#)([^)"]*)')
_FONT = re.compile(r"font: (?:(bold|[1-9]00) )?([\d.]+)px 'DejaVu Sans'")
_SPACE = re.compile(r">\s+<")
_BETWEEN = re.compile(r"([:;]) ")
_FAMILY = re.compile(r";? ?font-family: 'DejaVu Sans'")
_COMMAND = re.compile(r"(?<=[\d.MLCQHVz\"]) *([MLCQHVz]) *")
_STYLE = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>", re.S)
_ROOT = (
    "<svg style=\"font-family:'DejaVu Sans',Verdana,sans-serif;stroke-linejoin:round;stroke-linecap:butt\" "
    'fill="currentColor" '
)
"""Verdana has the widths of DejaVu Sans, with which figures are laid out."""


def compact(text: str) -> str:
    """An SVG of matplotlib's without metadata, comments, unused names and digits below a hundredth of a point.

    Black becomes `currentColor`, which is black in a file and the page's colour of text on a page. Names are unique to
    the figure, so several figures can be part of one page.
    """
    whole = _STYLE.sub("", _METADATA.sub("", _PROLOGUE.sub("", text)), count=1)
    prefix = hashlib.sha256(whole.encode()).hexdigest()[:8]
    used = {name: f"f{prefix}-{number}" for number, name in enumerate(dict.fromkeys(_REFERENCE.findall(whole)))}
    small = _TAG.sub(lambda tag: _short(tag[0], used), whole)
    return _SPACE.sub("><", small).replace("<svg ", _ROOT, 1).strip()


def _short(tag: str, used: dict[str, str]) -> str:
    """A tag with short numbers and styles, and names only where something refers to them."""
    tag = _ID.sub(lambda name: f' id="{used[name[1]]}"' if name[1] in used else "", tag)
    tag = _REFERENCE.sub(lambda name: name[0].replace(name[1], used[name[1]]), tag)
    tag = _LONG.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), tag)
    tag = _FONT.sub(lambda font: f"font-size: {font[2]}px" + (f"; font-weight: {font[1]}" if font[1] else ""), tag)
    tag = _BETWEEN.sub(r"\1", _FAMILY.sub("", tag).replace("#000000", "currentColor")).replace("\n", " ")
    return _COMMAND.sub(r"\1", tag) if tag.startswith("<path") else tag
