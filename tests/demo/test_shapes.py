"""Lenses may follow the catalogue's shapes of their hosts: what those are worth on galaxies whose truth is known."""

from __future__ import annotations

import numpy as np

from injection.experiment.conditioning import catalogue_shapes
from tests.demo.conftest import Made


def test_shapes_of_early_types_are_those_of_the_truth(survey: Made) -> None:
    """Axis ratio within 0.03 and position angle within 5 degrees, in the frame of the pixels; one in 20 may miss."""
    rows = {(row["BRICKNAME"].decode(), row["OBJID"]): row for row in survey.rows()}
    early = [one for one in survey.table("sources") if one["type"] in ("DEV", "SER")]
    seen = [rows[one["brickname"], one["objid"]] for one in early]
    q, angle = catalogue_shapes([row["SHAPE_E1"] for row in seen], [row["SHAPE_E2"] for row in seen])
    true_q, true_angle = (np.array([one[name] for one in early]) for name in ("axis_ratio", "angle_rad"))
    turned = np.rad2deg(np.abs(np.angle(np.exp(2j * (angle - true_angle))) / 2))
    flat = true_q < 0.85
    assert flat.sum() > 20
    assert np.percentile(np.abs(q - true_q), 90) < 0.03
    assert np.percentile(turned[flat], 95) < 5.0
