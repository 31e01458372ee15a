"""Quads: cover a surface with a lattice along its curvature, and make faces of it (Jakob et al. 2015, "Instant
field-aligned meshes").

``divide`` makes the surface as fine as that needs, ``graph`` has it on coarser and coarser levels, ``fields`` lays the
lattice, ``quotient`` makes one vertex of all that have the same lattice point, ``polygons`` takes out diagonals and
makes the faces regular, ``relax`` evens them out on the surface, and ``quads`` does it all.
"""
