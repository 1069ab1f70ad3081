"""Enlisting somebody's own finder: it is pinned like a checkpoint, and audited like one."""

from __future__ import annotations

import json
import re

import yaml

from lake.cards import write_atomically
from lake.errors import invalid
from modeling.card import FINDER
from modeling.scorer import load_scorer
from pipeline import params


def enlist(finder: str, name: str) -> None:
    """Check the finder, write ``data/checkpoints/<name>/scorer.json``, and add it to what is audited."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise invalid("name", "letters, digits, '-' and '_'", name)
    values = params.load_file()
    if name in values["train"]:
        raise invalid("name", "one that no trained generation has", name)
    scorer = load_scorer(finder)
    facts = {"finder": finder, "stamp_pixels": scorer.stamp_pixels, "version": scorer.scorer_id}
    write_atomically(params.root().checkpoints(name) / FINDER, json.dumps(facts, indent=1, sort_keys=True) + "\n")
    if name not in values["audited"]:
        values["audited"] = [*values["audited"], name]
        head = params.PARAMS_FILE.read_text().splitlines()[0]
        body = yaml.safe_dump(values, sort_keys=False, width=110)
        write_atomically(params.PARAMS_FILE, f"{head}\n{body}")
