"""What matters about a 3-D print, whoever prepares it: its size, and the sentences about what a printer cannot do.

Standard library only: both sides use it. The sentences are templates, which the add-on translates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: The length of a print's longest side where nobody chooses another, in millimetres.
SIZE = 100.0
#: Walls that are thinner than this, in millimetres, may break or be left out. What print services recommend lies from
#: 0.7 (nylon powder) and 0.8 (resin) to 1.2 (two lines of a filament printer).
MIN_WALL = 1.0
#: The share of the surface that may be thin before a word is said of it.
NOTICED = 0.005

NOT_CLOSED = "At {n} edges the mesh is not closed. A printing program may refuse it, or repair it"
THIN = "Printed {size} mm large, {share} % of the surface has walls under {wall} mm, down to {thinnest} mm"


@dataclass(frozen=True)
class PrintCheck:
    """What was found about a mesh that is to be printed."""

    size: float  # mm: its longest side
    open_edges: int  # edges without exactly two faces, one in each direction
    thin: float  # the share of the surface whose wall is thinner than ``MIN_WALL``
    thinnest: float  # mm: that of the thinnest walls, of which one in a hundred thin places is thinner still

    @property
    def closed(self) -> bool:
        """Whether the mesh encloses a solid."""
        return self.open_edges == 0

    def said(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The sentences that should be said, as templates and their values."""
        if self.open_edges:
            yield NOT_CLOSED, {"n": self.open_edges}
        if self.thin > NOTICED:
            values = {"size": f"{self.size:.4g}", "share": f"{max(100 * self.thin, 1):.0f}"}
            yield THIN, {**values, "wall": f"{MIN_WALL:.4g}", "thinnest": f"{self.thinnest:.2g}"}

    @property
    def note(self) -> str:
        """The same in English; empty if there is nothing to say."""
        return " ".join(template.format(**values) + "." for template, values in self.said())
