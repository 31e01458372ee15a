"""Held-out objects in the view that a model gets of them, the same for every evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from ..mesh import Surface
from ..training.objects.families import FAMILIES
from ..training.objects.params import Params
from ..training.objects.render import View, Window, frame, random_light, random_view, render
from ..training.objects.shapes import HELD_OUT, draw
from .metrics import filled, is_hidden, true_picture, true_surface
from .subjects import Solid, Truth, parts_of, points_on

IMAGE_SIZE = 336
VOXELS = 16  # along a side, for true surfaces: as fine as the bundled model's


@dataclass(frozen=True)
class Case:
    """A held-out object and the view of it that the model gets."""

    family: str
    number: int
    params: Params
    view: View
    window: Window

    @classmethod
    def draw(cls, family: str, number: int) -> Case:
        """The object of a family with this number, in its own view."""
        params = draw(family, [number])
        view = random_view(np.random.default_rng([*family.encode(), number, 4]))
        return cls(family, number, params, view, frame(family, params, [view])[0])

    def image(self) -> Image.Image:
        """The lit picture of the view that the model gets, RGBA, ``IMAGE_SIZE`` x ``IMAGE_SIZE``."""
        return _image(self.family, self.number)

    def solid(self) -> Solid:
        """The object as a perfect decoder would return it."""
        return self.completed(self.params)

    def completed(self, params: Params) -> Solid:
        """One of the ``completions`` as a perfect decoder would return it."""
        return self.judged_as(true_surface(self.family, params, VOXELS))

    def judged_as(self, surface: Surface) -> Solid:
        """The parts of a generated surface that are compared."""
        return Solid(surface, filled(surface))

    def truth(self) -> Truth:
        """What a result is compared with, seen from the view that the model got."""
        return _truth(self.family, self.number)

    def hidden_choices(self) -> list[str]:
        """The choices that the image does not show."""
        return [c for c in FAMILIES[self.family].modes if _is_hidden(self.family, self.number, c)]

    def completions(self, count: int, first: int = 0) -> list[Params]:
        """True answers to the image: the hidden parameters are drawn again, the visible ones stay."""
        return [draw(self.family, [self.number], [1 + first + i]) for i in range(count)]


def cases(count: int, seed: int = 0) -> list[Case]:
    """``count`` objects of all families in turn. Other seeds give other objects."""
    families = list(FAMILIES)
    first = HELD_OUT + 10_000 * seed
    return [Case.draw(families[i % len(families)], first + i // len(families)) for i in range(count)]


@lru_cache(maxsize=1024)
def _is_hidden(family: str, number: int, choice: str) -> bool:
    case = Case.draw(family, number)
    return is_hidden(family, case.params, choice, case.view, case.window)


@lru_cache(maxsize=1024)  # all models get the same images and are compared with the same objects
def _image(family: str, number: int) -> Image.Image:
    case = Case.draw(family, number)
    light = random_light(np.random.default_rng([*family.encode(), number, 5]))
    return Image.fromarray(render(family, case.params, [case.view], [light], IMAGE_SIZE, [case.window])[0].numpy())


@lru_cache(maxsize=1024)
def _truth(family: str, number: int) -> Truth:
    case = Case.draw(family, number)
    picture = true_picture(family, case.params, case.view, case.window)
    solid = case.solid()
    return Truth(points_on(solid.mesh, seed=1), ((picture, case.view, case.window),), parts_of(solid))
