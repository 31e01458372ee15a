"""Held-out objects in the view that a model gets of them, for every evaluation alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from .families import FAMILIES
from .metrics import is_hidden, true_picture
from .params import Params
from .render import View, Window, frame, random_light, random_view, render
from .shapes import HELD_OUT, draw

IMAGE_SIZE = 336


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
        params = draw(family, [number])
        view = random_view(np.random.default_rng([*family.encode(), number, 4]))
        return cls(family, number, params, view, frame(family, params, [view])[0])

    def image(self) -> Image.Image:
        light = random_light(np.random.default_rng([*self.family.encode(), self.number, 5]))
        return Image.fromarray(
            render(self.family, self.params, [self.view], [light], IMAGE_SIZE, [self.window])[0].numpy()
        )

    def true_picture(self) -> np.ndarray:
        """What ``metrics.likeness`` compares a result with, from the same side."""
        return true_picture(self.family, self.params, self.view, self.window)

    def hidden_choices(self) -> list[str]:
        """The choices that the image does not show."""
        return [c for c in FAMILIES[self.family].modes if _is_hidden(self.family, self.number, c)]

    def completions(self, count: int) -> list[Params]:
        """True answers to the image: the hidden parameters drawn anew, the visible ones as they are."""
        return [draw(self.family, [self.number], [1 + i]) for i in range(count)]


def cases(count: int, seed: int = 0) -> list[Case]:
    """Objects of all families in turn; other seeds give other objects."""
    families = list(FAMILIES)
    first = HELD_OUT + 10_000 * seed
    return [Case.draw(families[i % len(families)], first + i // len(families)) for i in range(count)]


@lru_cache(maxsize=1024)
def _is_hidden(family: str, number: int, choice: str) -> bool:
    case = Case.draw(family, number)
    return is_hidden(family, case.params, choice, case.view, case.window)
