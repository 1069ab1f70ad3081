"""Copies of a run's files in an object store, made while it trains, from which another machine goes on.

The state is copied last, and fetched last: whatever a kill leaves in the store is a run that resumes exactly.
"""

from __future__ import annotations

import logging
from pathlib import Path

from lake.errors import StoreError
from lake.files import storage
from lake.files.objects import Found
from modeling.training.state import STATE

logger = logging.getLogger(__name__)


class Copies:
    """The files of the run in ``work``, below the prefix ``place``."""

    def __init__(self, work: Path, place: str) -> None:
        self._work, self._place = work, place
        self._sent: dict[str, Found] = {}

    def fetch(self) -> None:
        """Bring the copies to a machine that has no state of this run; nothing where there are none."""
        if (self._work / STATE).exists():
            return
        names = [name for name, _ in storage.files(self._place)]
        if STATE not in names:
            return
        for name in sorted(names, key=lambda name: name == STATE):
            storage.fetch(storage.below(self._place, name), self._work / name)
        logger.info("the run goes on from its copies in %s", self._place)

    def send(self) -> None:
        """Copy what has changed. A store that fails does not stop the training: the next copy is complete again."""
        found = {name: facts for name, facts in storage.files(str(self._work)) if not name.startswith(".")}
        changed = [name for name, facts in found.items() if self._sent.get(name) != facts]
        try:
            for name in sorted(changed, key=lambda name: name == STATE):
                storage.upload(self._work / name, storage.below(self._place, name))
                self._sent[name] = found[name]
        except (StoreError, OSError) as error:
            logger.warning("no copy of this state (the next one will be tried): %s", error)
