"""What was checked of a finished mesh: its certificate, which goes with the object. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Certificate:
    """The findings about a mesh whose vertices count as one where they lie at the same place, as most programs do.

    Lengths are in the unit of the mesh. ``sound`` sums it up.
    """

    faces: int
    vertices: int  # at different places
    shells: int  # pieces of the surface that are not connected
    watertight: bool  # two faces at each edge, which agree about the outside
    manifold: bool  # at most two faces at each edge, and all faces of a vertex in one fan
    outward: bool  # all shells have their front outside; of an open mesh, neighbours agree
    volume: float  # 0 if it is not watertight
    area: float
    largest_hole: float  # the length of the longest open border; 0 if there is none
    duplicates: int  # faces on the same three vertices as an earlier one
    degenerate: int  # faces that are needles or points
    crossing: int  # faces that meet others elsewhere than in their common corners and edges
    hidden: int  # shells inside others, such as the walls of cavities
    crumbs: int  # shells of next to no size, or small ones far from all others
    uvs_inside: bool  # all UVs are finite and in 0..1

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong but, perhaps, that the surface is open."""
        wrong = self.duplicates or self.degenerate or self.crossing or self.hidden or self.crumbs
        return self.manifold and self.outward and self.uvs_inside and not wrong

    @property
    def sound(self) -> bool:
        """Whether it is a closed surface without any fault."""
        return self.watertight and self.clean

    def scaled(self, factor: float) -> Certificate:
        """The certificate of the mesh scaled by a factor."""
        return replace(
            self,
            volume=self.volume * factor**3,
            area=self.area * factor**2,
            largest_hole=self.largest_hole * factor,
        )

    def problems(self) -> tuple[str, ...]:
        """What is wrong, in words; empty if it is sound."""
        found = [
            ("the surface is open", not self.watertight),
            ("more than two faces meet", not self.manifold),
            ("faces are turned inward", not self.outward),
            ("faces are there twice", self.duplicates > 0),
            ("faces have no area", self.degenerate > 0),
            ("faces cross", self.crossing > 0),
            ("there are walls inside", self.hidden > 0),
            ("crumbs float around it", self.crumbs > 0),
            ("UVs are outside", not self.uvs_inside),
        ]
        return tuple(words for words, wrong in found if wrong)
