"""The fraction of lenses in a finder's training, at which its probabilities hold."""

from __future__ import annotations

from lake.store import cards
from modeling.scoring.card import FINDER, read_card
from pipeline.project.context import RunContext

_TRAINED_ON = {"manifest": "as in its training split", "stamp_manifest": "as among its simulated training stamps"}
"""Tables of training rows, and where a fraction of lenses from them comes from."""


def lens_share(context: RunContext, name: str) -> tuple[float | None, str]:
    """Fraction of lenses in a finder's training, from its checkpoint's record, and where it comes from."""
    folder = context.root.checkpoints(name)
    if (folder / FINDER).exists():
        return None, ""
    card = read_card(folder)
    loss = card.config.loss
    moved = "" if loss.kind == "bce" else f", shifted by its {loss.kind} loss"
    if loss.hard_negative_weight != 1.0:
        moved += f", its hard negatives weigh {loss.hard_negative_weight:g} times as much"
    if card.config.loop.positive_fraction:
        return card.config.loop.positive_fraction, f"set by its sampler{moved}"
    for table, where in _TRAINED_ON.items():
        held = {entry.card.slice: entry.card.fingerprint for entry in cards.slices(context.root, table)}
        if held.get(card.manifest_id) == card.manifest_fingerprint:
            rows = context.read(table, ["split", "label"], slices=[card.manifest_id]).to_pandas()
            return float(rows.loc[rows["split"] == "train", "label"].mean()), f"{where}{moved}"
    return None, ""
