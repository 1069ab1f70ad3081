"""Parameters of the stage that renders simulated training stamps."""

from __future__ import annotations

from etl.stampconfig import StampCutting
from injection.config import StampRendering, StampSet
from lake.config import Name, Section
from lake.errors import not_one_of


class StampsParams(Section):
    """Which sets of simulated stamps are rendered, and how."""

    cutting: StampCutting
    """How their hosts are cut out of the coadds."""
    rendering: StampRendering
    """How their lenses are drawn and rendered."""
    sets: dict[Name, StampSet]
    """The sets, by name."""

    def chosen(self, name: str) -> StampSet:
        """The set of a name; ParameterError if there is none."""
        if name not in self.sets:
            raise not_one_of("set", self.sets, name)
        return self.sets[name]
