"""Errors that say what was expected, what was found and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import PurePath


class DarkHaloError(Exception):
    """Any failure the user can act on; the command line shows its text without a traceback."""


class ParameterError(DarkHaloError, ValueError):
    """A parameter outside what is allowed."""


class UnknownParameterError(ParameterError):
    """A parameter or section of a name that nothing reads."""


class DataError(DarkHaloError):
    """Input data that cannot be used."""


class ShardError(DataError):
    """A stamp shard that is missing, unreadable, or has other pixels than the tables name."""


class LakeError(DarkHaloError):
    """The lake and its cards or pins disagree, or a table is missing."""


class LostError(LakeError):
    """The lake was read and lacks the version that a pin names: its card may be forgotten."""


class DamagedError(LakeError):
    """The data were read and are damaged: the slice is remade over them."""


class DamagedLogError(DamagedError):
    """A table's log was read and is damaged: the table is set aside before it is remade."""


class UnreachableError(LakeError):
    """The lake could not be read, so its content is not known: nothing may be forgotten."""


class StoreError(UnreachableError):
    """An object store that does not answer, or whose answer says nothing of what it holds: the place, and why."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(place, why)
        self.place, self.why = place, why

    def __str__(self) -> str:
        return (
            f"{self.place} cannot be reached ({self.why}): connect, check its address and your credentials, "
            "and run the command again"
        )


class ContractError(DarkHaloError):
    """Rows that break their table's contract reached a writer that must not see them."""


def invalid(parameter: str, allowed: str, got: object) -> ParameterError:
    """The one wording of a bad parameter: ``'<parameter>' must be <allowed>, got <value>``."""
    shown = str(got) if isinstance(got, PurePath) else got
    return ParameterError(f"'{parameter}' must be {allowed}, got {shown!r}")


def not_one_of(parameter: str, known: Iterable[str], got: object) -> ParameterError:
    """A name that is not among the known ones; the most similar of them is suggested."""
    names = list(known)
    allowed = f"one of {', '.join(names) or 'those that are here (none is)'}"
    return ParameterError(f"{invalid(parameter, allowed, got)}{did_you_mean(got, names)}")


def did_you_mean(got: object, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the most similar known one, or nothing."""
    near = difflib.get_close_matches(str(got), list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def one_line(error: BaseException, length: int = 300) -> str:
    """The message of another library's error, on one line of at most ``length`` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= length else f"{text[:length]}..."
