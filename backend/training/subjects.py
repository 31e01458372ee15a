"""What an evaluation shows to a model, and what it compares the answer with."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

from ..mesh import Surface
from . import judge, metrics
from .render import View, Window

POINTS = 10_000  # on a surface, for distances


class Truth(NamedTuple):
    """What a result is compared with: points on the surface, unlit pictures, how many parts the object has."""

    points: cKDTree
    pictures: tuple[tuple[np.ndarray, View, Window], ...]
    parts: int

    @classmethod
    def of(cls, surface: Surface, pictures: tuple[tuple[np.ndarray, View, Window], ...]) -> Truth:
        """Of a true surface."""
        parts = judge.structure_of(surface, metrics.filled(surface)).parts
        return cls(cKDTree(metrics.sample_surface(surface, POINTS, seed=1)), pictures, parts)


class Subject(Protocol):
    """An object whose truth is known."""

    def image(self) -> Image.Image:
        """What the model gets: RGBA."""

    def surface(self) -> Surface:
        """The object itself."""

    def truth(self) -> Truth:
        """What results are compared with."""
