"""Units as survey files write them: a file that declares another unit than the lake's is not used."""

from __future__ import annotations

_SPELLINGS = {
    "nMgy": ("nanomaggy", "nanomaggies", "nmgy"),
    "nMgy^-2": ("1/nanomaggy^2", "1/nanomaggies^2", "nanomaggy^-2", "nanomaggy^(-2)", "nmgy^-2"),
    "deg": ("deg", "degree", "degrees"),
    "arcsec": ("arcsec", "arcsecond", "arcseconds"),
    "mag": ("mag",),
}


def fault(what: str, declared: str, wanted: str) -> str | None:
    """Why values in the unit ``declared`` cannot be used where ``wanted`` is meant; none declared is taken as right."""
    text = declared.strip()
    if not text or not wanted or text.lower() in _SPELLINGS[wanted]:
        return None
    return f"{what} must be in {wanted}, the header says {text}"
