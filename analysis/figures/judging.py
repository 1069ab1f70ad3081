"""A page of stamps to judge by eye: one verdict each, saved as the list that a manifest reads."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from analysis.figures.stamps import colour_composite
from lake.sky.imaging import Imaging

_QUALITY = 85
_SCALE = 2
"""Pixels of the page for each of a stamp."""


def judging_page(
    listed: pd.DataFrame,
    shown: pd.DataFrame,
    stamps: NDArray[np.float32],
    verdicts: Sequence[str],
    imaging: Imaging,
    name: str,
) -> str:
    """HTML, self-contained: those ``shown`` of the objects of a list, with their stamps (row, band, y, x) in nMgy.

    Objects have `galaxy_id`, `viewer`, `highest`, `verdict`, and more columns; what the page saves is the whole list.
    """
    pictures = colour_composite(stamps, imaging)
    figures = "\n".join(
        _figure(row, picture, verdicts) for row, picture in zip(shown.to_dict("records"), pictures, strict=True)
    )
    page = resources.files("analysis.figures").joinpath("judging.html").read_text(encoding="utf-8")
    rows = json.dumps(listed.fillna("").astype(str).to_dict("records")).replace("<", "\\u003c")
    return page.replace("{{name}}", escape(name)).replace("{{figures}}", figures).replace("{{rows}}", rows)


def _figure(row: Mapping[Any, Any], picture: NDArray[np.uint8], verdicts: Sequence[str]) -> str:
    side = _SCALE * picture.shape[0]
    identity = escape(str(row["galaxy_id"]), quote=True)
    choices = "".join(
        f'<label><input type="radio" name="{identity}" value="{verdict}"'
        f"{' checked' if row['verdict'] == verdict else ''}>{verdict}</label>"
        for verdict in verdicts
    )
    return (
        f'<figure><a href="{escape(str(row["viewer"]), quote=True)}">'
        f'<img src="{_jpeg(picture)}" width="{side}" height="{side}" alt="{identity}"></a>'
        f"<figcaption>{identity}<br>p = {float(str(row['highest'])):.3f}<br>{choices}</figcaption></figure>"
    )


def _jpeg(picture: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture[::-1]).save(buffer, "jpeg", quality=_QUALITY)  # row 0 is at the bottom of the sky
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
