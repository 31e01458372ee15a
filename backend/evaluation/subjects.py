"""What an evaluation gives to a model, and what it compares the answer with."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

from ..mesh import Mesh, Surface
from ..training.objects.render import View, Window
from . import judge, metrics

POINTS = 10_000  # on a surface, for distances


class Solid(NamedTuple):
    """An object as it is judged: its visible mesh, and the corners of a lattice that it fills, [R + 1]^3 bool."""

    mesh: Mesh
    filled: np.ndarray


class Truth(NamedTuple):
    """What a result is compared with: points on the surface, unlit pictures, and the number of parts that a result must
    have (None if unknown)."""

    points: cKDTree
    pictures: tuple[tuple[np.ndarray, View, Window], ...]
    parts: int | None


class Subject(Protocol):
    """An object whose truth is known."""

    def image(self) -> Image.Image:
        """The picture that the model gets, RGBA."""

    def solid(self) -> Solid:
        """The object itself."""

    def truth(self) -> Truth:
        """What results are compared with."""

    def judged_as(self, surface: Surface) -> Solid:
        """The parts of a generated surface that are compared."""


def points_on(mesh: Mesh, seed: int) -> cKDTree:
    """``POINTS`` random points on a mesh, for distances."""
    return cKDTree(metrics.sample_surface(mesh, POINTS, seed))


def parts_of(solid: Solid) -> int:
    """How many parts an object has, not counting dust."""
    return judge.structure_of(solid.mesh, solid.filled).parts
