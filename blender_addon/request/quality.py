"""The models as the panel offers them: by family, and by the steps that each of them works in. No bpy.

A *student* is a model that was distilled from another, its teacher, to so many steps or fewer. It is offered as one of
its teacher's qualities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...backend.protocol import ModelInfo

#: A student of so many steps at most works in each smaller number too. A teacher does not.
FEW_STEPS = 4

TITLES = {"mini": "Mini (Demonstration)", "trellis-image-large": "TRELLIS Image Large"}


def title_of(name: str) -> str:
    """What people read for a model's name."""
    return TITLES.get(name, name)


def family_of(model: ModelInfo) -> str:
    """The model that a person chooses: a student is one of its teacher's qualities."""
    return model.teacher or model.name


@dataclass(frozen=True)
class Quality:
    """A model in a number of steps; None are as many as it was made for. ``named``: another one has as many steps."""

    model: ModelInfo
    steps: int | None = None
    named: bool = False

    @property
    def pair(self) -> tuple[int, int]:
        """Steps for the structure and for the latents."""
        return (self.steps, self.steps) if self.steps else self.model.steps

    def label(self, translate: Callable[[str], str] = str) -> str:
        """*1 Step*, *25 Steps*, *2 + 25 Steps*."""
        label = steps_label(*self.pair, translate)
        return f"{label}, {translate(title_of(self.model.name))}" if self.named else label


def steps_label(structure: int, latents: int, translate: Callable[[str], str] = str) -> str:
    """The same of a pair of numbers of steps."""
    number = str(structure) if structure == latents else f"{structure} + {latents}"
    return translate("{n} Step" if number == "1" else "{n} Steps").format(n=number)


def qualities(models: Mapping[str, ModelInfo], family: str) -> list[Quality]:
    """What a family offers, the quickest first: its students in as many steps as they were made for and fewer, and the
    teacher in its own."""
    offered: list[Quality] = []
    members = [model for model in models.values() if family_of(model) == family]
    for model in sorted(members, key=lambda model: (not model.teacher, max(model.steps), model.name)):
        fewer = range(1, max(model.steps)) if model.teacher and max(model.steps) <= FEW_STEPS else ()
        for steps in (None, *fewer):
            taken = any(Quality(model, steps).pair == other.pair for other in offered)
            offered.append(Quality(model, steps, taken))
    return sorted(offered, key=lambda quality: (sum(quality.pair), quality.named))
