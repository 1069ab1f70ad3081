"""A user's own finder as a scorer: what it declares, what it is given, and what it must return."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import logit
from torch import Tensor

from lake.config import Section
from lake.errors import DataError, invalid, one_line
from lake.plugins import imported, raised
from modeling.networks.preprocess import centre_crop
from modeling.scoring.card import FINDER
from modeling.scoring.modelfiles import is_model_file, load_model, module_call, version_of

log = logging.getLogger(__name__)

Stamps = NDArray[np.float32]
Output = Literal["logits", "probabilities"]

CHUNK = 512
"""Most stamps passed to a finder at a time."""
PROBABILITY_CLIP = 1e-15
"""Probabilities are clipped this far from 0 and 1, which keeps their logits finite (within +-34.5)."""
ROUNDING = 1e-6
"""How far a single-precision probability may lie outside [0, 1]."""
SUSPECT_ANSWERS = 1000
"""A finder that does not declare its output is taken to return probabilities after this many values within [0, 1]."""


class FinderParams(Section):
    """``scorer.json`` of the folder of a user's own finder."""

    finder: str
    """Import path ``package:object`` of a scorer, a class that makes one, a torch module, or a function of stamps; or a
    file with a TorchScript or ONNX network."""
    stamp_pixels: int | None = None
    """Side of the stamps it takes; null if the finder declares it."""
    version: str | None = None
    """Its version; if it declares none, the hash of its file, or of its source (and of a torch module's weights)."""
    output: Output | None = None
    """What it returns; null if the finder declares it."""
    declares: dict[str, Any] = Field(default_factory=dict)
    """Further declarations (see :class:`Contract`) for a finder that cannot make them itself."""
    identity: str | None = None
    """The identity it was added with; a finder that has changed since is refused."""
    trained_within_arcsec: float = Field(default=1.0, gt=0)
    """Objects within this distance of a training position count as trained on."""


def read_finder(folder: Path) -> FinderParams:
    """Content of ``scorer.json`` in a folder."""
    path = folder / FINDER
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {one_line(error)}") from error
    if not isinstance(values, dict):
        raise DataError(f"{path} must hold one JSON object")
    return FinderParams.load(values, str(path))


class Contract(Section):
    """What a finder declares, through attributes of these names."""

    stamp_pixels: Annotated[int, Field(gt=0)] | None = None
    """Side of the stamps it takes; larger stamps are centre-cropped. Without it, stamps come as they are."""
    bands: tuple[str, ...] | None = None
    """Bands of the stamps it takes, in order; stamps of other bands are refused. Without it, any are passed."""
    output: Output | None = None
    """What it returns: logits, or probabilities, whose logit is then taken."""
    accepts_nan: bool = False
    """Whether unobserved pixels are passed as NaN; otherwise they are filled."""
    fill: Annotated[float, Field(allow_inf_nan=False)] | Literal["median"] = 0.0
    """What fills them: a brightness (nMgy; 0 is the sky), or the median of the observed pixels of the stamp's band."""
    wants_mask: bool = False
    """Whether it receives, as a second argument, which pixels were observed: boolean, of the stamps' shape."""
    conditions: tuple[str, ...] = ()
    """Columns that it receives as its last argument, float32 (batch, column): seeing, depth or what else is known of
    each object."""

    @classmethod
    def of(cls, finder: object, params: FinderParams) -> Contract:
        """The finder's own attributes, completed by ``params``."""
        found = {name: getattr(finder, name) for name in cls.model_fields if hasattr(finder, name)}
        declared = {name: value for name, value in found.items() if not callable(value)}  # such as a layer `output`
        more = dict(params.declares) if params.output is None else {**params.declares, "output": params.output}
        for name, value in more.items():
            own = declared.setdefault(name, value)
            if own != value and not (isinstance(value, list) and list(own) == value):
                raise invalid(name, f"what the finder declares ('{own}')", value)
        declared.setdefault("stamp_pixels", params.stamp_pixels)
        return cls.load(declared, params.finder)


class ExternalScorer:
    """A user's own finder: what it returns is checked; its identity is its declared version or its source."""

    any_sign = True
    """Its conditions may be zero or negative."""

    def __init__(self, params: FinderParams) -> None:
        file = Path(params.finder) if is_model_file(params.finder) else None
        finder = load_model(file) if file else imported(params.finder, "finder")
        self.contract = Contract.of(finder, params)
        name = getattr(finder, "name", None)
        self.name = name if isinstance(name, str) else file.stem if file else params.finder.replace(":", ".")
        self.stamp_pixels = self.contract.stamp_pixels
        self.bands, self.conditions = self.contract.bands, self.contract.conditions
        version = params.version or (version_of(file) if file else getattr(finder, "version", None))
        version = version or _source_hash(finder, params.finder)
        undeclared = {name for name in ("bands", "conditions") if not getattr(self, name)}
        facts = f"{file.name if file else params.finder} {version} {self.contract.digest(undeclared)}"
        self.checkpoint_id = hashlib.sha256(facts.encode()).hexdigest()[:16]
        if params.identity is not None and params.identity != self.checkpoint_id:
            raise DataError(
                f"the finder '{params.finder}' is not the one that was audited (its version, its source or what it "
                "declares has changed): restore it, or remove it with `dhs forget NAME` and audit it again"
            )
        self._call = _callable(finder, params.finder)
        self._values = 0
        self._all_within_0_and_1 = True
        self._warned = False

    def score(self, stamps: Stamps, conditions: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Logits (batch,); larger stamps are centre-cropped, unobserved pixels filled as the finder declares."""
        self._check(stamps.shape, conditions)
        stamps = centre_crop(torch.from_numpy(stamps), self.stamp_pixels or 0).numpy()
        chunks = (slice(start, start + CHUNK) for start in range(0, len(stamps), CHUNK))
        parts = [self._logits(stamps[part], None if conditions is None else conditions[part]) for part in chunks]
        if self._values >= SUSPECT_ANSWERS:
            self.refuse_undeclared_probabilities()
            self._warn_of_declared_logits()
        return np.concatenate([np.empty(0), *parts])

    def refuse_undeclared_probabilities(self) -> None:
        """Raise where the finder does not declare its output and all values so far may be probabilities."""
        if self.may_answer_probabilities:
            raise DataError(
                f"all {self._values} values from finder {self.name} lie within [0, 1], as probabilities do, "
                'but logits are expected: give the finder an attribute output = "probabilities" (or audit it with '
                '--output probabilities), or output = "logits" if that is what they are'
            )

    def _warn_of_declared_logits(self) -> None:
        """Say once that values declared as logits look like probabilities; what is declared is taken as it is."""
        if self.contract.output == "logits" and self._all_within_0_and_1 and not self._warned:
            self._warned = True
            told = f"all {self._values} values from finder {self.name} lie within [0, 1]: if they are not logits, as it"
            log.warning(f'{told} declares, but probabilities, declare output = "probabilities" and audit it again')

    @property
    def may_answer_probabilities(self) -> bool:
        """Whether the finder does not declare its output and all values so far lie within [0, 1]."""
        return self.contract.output is None and self._values > 0 and self._all_within_0_and_1

    def _check(self, shape: tuple[int, ...], conditions: NDArray[np.float64] | None) -> None:
        if len(shape) != 4 or shape[2] != shape[3]:
            raise invalid("stamps", "(batch, band, n, n)", shape)
        wanted = self.contract.stamp_pixels
        if wanted is not None and shape[3] < wanted:
            raise DataError(
                f"finder {self.name} takes stamps of {wanted} pixels, but these have {shape[3]}: "
                "declare a stamp_pixels of at most that"
            )
        if self.conditions and (conditions is None or not np.isfinite(conditions).all()):
            raise DataError(
                f"finder {self.name} needs {', '.join(self.conditions)} of each stamp, but not all are known"
            )

    def _logits(self, stamps: Stamps, conditions: NDArray[np.float64] | None) -> NDArray[np.float64]:
        values = self._returned(stamps, conditions)
        low, high = values.min(), values.max()
        if self.contract.output == "probabilities":
            if low < -ROUNDING or high > 1.0 + ROUNDING:
                raise DataError(
                    f"finder {self.name} must return probabilities in [0, 1], as it declares, got values from "
                    f"{low:g} to {high:g}"
                )
            return np.asarray(logit(np.clip(values, PROBABILITY_CLIP, 1.0 - PROBABILITY_CLIP)))
        self._values += len(values)
        self._all_within_0_and_1 &= bool(low >= 0.0 and high <= 1.0)
        return values

    def _returned(self, stamps: Stamps, conditions: NDArray[np.float64] | None) -> NDArray[np.float64]:
        count, word = len(stamps), self.contract.output or "logits"
        try:
            found = self._call(*self._given(stamps, conditions))
        except (Exception, SystemExit) as error:  # the user's code may raise anything
            raise DataError(f"finder {self.name} failed on {count} stamps: {raised(error)}") from error
        numbers = _numbers(found)
        if isinstance(numbers, str) or numbers.shape not in ((count,), (count, 1)):
            got = numbers if isinstance(numbers, str) else f"an array of shape {numbers.shape}"
            raise DataError(f"finder {self.name} must return {count} {word}, one number per stamp, got {got}")
        numbers = numbers.reshape(count)
        if not np.isfinite(numbers).all():
            bad = int((~np.isfinite(numbers)).sum())
            raise DataError(
                f"finder {self.name} returned {bad} of {count} {word} that are not finite: one finite number per "
                "stamp is expected (also for stamps with unobserved pixels)"
            )
        return numbers

    def _given(self, stamps: Stamps, conditions: NDArray[np.float64] | None) -> tuple[NDArray[Any], ...]:
        """A copy of the stamps with unobserved pixels as the finder wants them; the mask and conditions if it wants
        them."""
        observed = np.isfinite(stamps)
        if self.contract.accepts_nan:
            given = np.where(observed, stamps, np.float32(np.nan))
        elif self.contract.fill == "median":
            given = np.where(observed, stamps, _band_median(stamps, observed))
        else:
            given = np.where(observed, stamps, np.float32(self.contract.fill))
        mask = (observed,) if self.contract.wants_mask else ()
        more = (conditions.astype(np.float32),) if self.conditions and conditions is not None else ()
        return (given, *mask, *more)


def _band_median(stamps: Stamps, observed: NDArray[np.bool_]) -> Stamps:
    """Median (batch, band, 1, 1) of the observed pixels; 0 where there are none."""
    median = np.zeros((*stamps.shape[:2], 1, 1), np.float32)
    for row, band in zip(*np.nonzero(~observed.all(axis=(2, 3))), strict=True):
        pixels = stamps[row, band][observed[row, band]]
        median[row, band] = np.median(pixels) if len(pixels) else 0.0
    return median


def _numbers(found: Any) -> NDArray[np.float64] | str:
    """What a finder returned as float64, or a description of it if it is not numbers."""
    kind = type(found).__name__
    if isinstance(found, list | tuple):
        found = [_array(one) if isinstance(one, Tensor) else one for one in found]
    if isinstance(found, Tensor):
        found = _array(found)
    if isinstance(found, np.ma.MaskedArray) and np.ma.is_masked(found):
        return f"{np.ma.count_masked(found)} masked values"
    try:
        values = np.asarray(found)
    except ValueError:
        return f"a {kind} of unequal lengths"
    if values.dtype.kind not in "fiu":
        return f"{kind} with values of type {values.dtype}"
    return values.astype(np.float64)


def _array(found: Tensor) -> NDArray[np.float64]:
    return np.asarray(found.detach().to_dense().to("cpu", torch.float64).numpy())


def _callable(finder: Any, path: str) -> Callable[..., Any]:
    """The function that scores stamps: the finder's ``score``, a torch module, or the finder itself."""
    score = getattr(finder, "score", None)
    if callable(score):
        return score
    if isinstance(finder, torch.nn.Module):
        return module_call(finder)
    if not callable(finder):
        raise invalid("finder", "a scorer, a class that makes one, a torch module, or a function of stamps", path)
    called: Callable[..., Any] = finder
    return called


def _source_hash(finder: Any, path: str) -> str:
    """Hash of the module that ``path`` names and of the file that defines the finder, if that is a different one.

    For a finder behind a decorator (``torch.no_grad``) or ``functools.partial``, ``inspect`` finds the wrapper's file.
    """
    unwrapped = inspect.unwrap(finder) if callable(finder) else finder
    own: Any = unwrapped if inspect.isfunction(unwrapped) else type(finder)
    files = set()
    for described in (own, sys.modules.get(path.partition(":")[0], own)):
        with suppress(TypeError, OSError):
            files.add(Path(inspect.getfile(described)).read_bytes())
    if not files:
        raise DataError(f"finder {finder!r} has no source file to identify it; give it an attribute 'version'")
    digest = hashlib.sha256(b"".join(sorted(files)))
    if isinstance(finder, torch.nn.Module):
        digest.update(repr(finder).encode())
        for name, value in sorted(finder.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
