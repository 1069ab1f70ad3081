"""The files beside the page: every figure as SVG, its data as CSV; and what each figure was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from analysis.page.layout import NumberedPart, Placed
from analysis.reporting.views import Shown

_SUFFIX = {"image/svg+xml": "svg", "image/webp": "webp", "image/png": "png", "application/pdf": "pdf"}
_DIGITS = "%.8g"


def files(parts: Sequence[NumberedPart]) -> Mapping[str, bytes]:
    """Contents of pictures and data by file name."""
    found: dict[str, bytes] = {}
    for placed in (placed for part in parts for placed in part.items):
        if isinstance(placed.item, Shown):
            found[picture_file(placed.item)] = placed.item.picture.content
            if (name := data_file(placed.item)) is not None:
                found[name] = placed.item.data.to_csv(index=False, float_format=_DIGITS).encode()
    return found


def picture_file(shown: Shown) -> str:
    """The file of a figure."""
    return f"{shown.name}.{_SUFFIX[shown.picture.media_type]}"


def data_file(shown: Shown) -> str | None:
    """The file of the data of a figure; None where it shows no numbers."""
    return None if shown.data.empty else f"{shown.name}.csv"


def made_from(placed: Placed, tables: pd.DataFrame) -> list[str]:
    """The pinned tables behind a figure, with version and fingerprint; `tables`: those of the report."""
    shown = placed.item
    if not isinstance(shown, Shown) or shown.source is None or tables.empty:
        return []
    held = tables[tables["table"].isin(shown.source.tables)]
    return [
        f"{row['table']}{'.' if row['slice'] else ''}{row['slice']} version {row['version']} ({row['fingerprint']})"
        for row in held.to_dict("records")
        if not shown.source.slices or not row["slice"] or row["slice"] in shown.source.slices
    ]
