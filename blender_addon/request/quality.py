"""The models as the panel offers them: by family, and by number of steps. No bpy.

A *student* is a model that was distilled from another one, its teacher, to a certain number of steps or fewer. It is
offered as one of the qualities of its teacher: *Draft* is one step of a student, *Standard* are the steps that it was
distilled to, *Best* are the teacher's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...backend.protocol import ModelInfo

#: A student of at most this many steps also works in each smaller number. A teacher does not.
FEW_STEPS = 4

#: Short, so that they fit into a narrow sidebar.
TITLES = {"mini": "Mini (Demo)", "trellis-image-large": "TRELLIS Large", "trellis2-4b": "TRELLIS.2"}


def title_of(name: str) -> str:
    """The title that the panel shows for a model's name."""
    return TITLES.get(name, name)


def family_of(model: ModelInfo) -> str:
    """The name of the model that is chosen in the panel: for a student, its teacher's."""
    return model.teacher or model.name


@dataclass(frozen=True)
class Quality:
    """A model with a number of steps; None is its default. ``named``: another quality has the same text."""

    model: ModelInfo
    steps: int | None = None
    named: bool = False

    @property
    def pair(self) -> tuple[int, int]:
        """The steps for the structure and for the latents."""
        return (self.steps, self.steps) if self.steps else self.model.steps

    @property
    def name(self) -> str:
        """*Draft*, *Standard* or *Best*; empty for the numbers of steps between a student's first two."""
        if not self.model.teacher:
            return "Best"
        if self.pair == (1, 1):
            return "Draft"
        return "Standard" if self.pair == self.model.steps else ""

    @property
    def requested(self) -> tuple[int | None, ...]:
        """The numbers of steps with which a request asks for this, the usual one first."""
        structure, latents = self.pair
        if structure != latents:
            return (None,)
        return (None, structure) if self.pair == self.model.steps else (structure,)

    @property
    def plain(self) -> str:
        """The text of the choice in English, without the model's name."""
        return self.name or steps_label(*self.pair)

    def label(self, translate: Callable[[str], str] = str) -> str:
        """The text of the choice: *Draft*, *Standard*, *Best*, *3 Steps*."""
        label = translate(self.name) if self.name else steps_label(*self.pair, translate)
        return f"{label}, {translate(title_of(self.model.name))}" if self.named else label


def steps_label(structure: int, latents: int, translate: Callable[[str], str] = str) -> str:
    """A pair of numbers of steps as text: *1 Step*, *25 Steps*, *2 + 25 Steps*."""
    number = str(structure) if structure == latents else f"{structure} + {latents}"
    return translate("{n} Step" if number == "1" else "{n} Steps").format(n=number)


def qualities(models: Mapping[str, ModelInfo], family: str) -> list[Quality]:
    """What a family offers, the fastest first.

    Students are offered with the number of steps that they were distilled to and with fewer, the teacher only with its
    own number.
    """
    offered: list[Quality] = []
    members = [model for model in models.values() if family_of(model) == family]
    for model in sorted(members, key=lambda model: (not model.teacher, max(model.steps), model.name)):
        fewer = range(1, max(model.steps)) if model.teacher and max(model.steps) <= FEW_STEPS else ()
        for steps in (None, *fewer):
            taken = any(Quality(model, steps).plain == other.plain for other in offered)
            offered.append(Quality(model, steps, taken))
    return sorted(offered, key=lambda quality: (sum(quality.pair), quality.named))
