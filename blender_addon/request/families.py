"""What the panel says of the models that are chosen in it: what each gives, what it takes here, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...backend.protocol import ModelInfo
from .. import pump
from ..jobs.progress import duration
from ..translations import gigabytes, number, translate
from .quality import steps_label


def about(models: Mapping[str, ModelInfo], family: str) -> str:
    """A family in sentences, in the user's language; empty if its model is not known.

    ``models`` are all that are known, also those that another one needs.
    """
    model = models.get(family)
    if model is None:
        return ""
    told = [translate("Makes colors alone: nothing is metal or see-through.")]
    if model.materials:
        told = [translate("Makes colors, metal, roughness and see-through parts.")]
    if model.resolution:
        told.append(translate("The grid of its shapes has {n} cells a side.").format(n=model.resolution))
    size = model.size + sum(models[need].size for need in model.needs if need in models)
    told.append(translate("Its networks take {size}.").format(size=gigabytes(size)))
    told.append(f"{time_of(family, (None,))}.")
    if not any(other.teacher == family for other in models.values()):
        steps = steps_label(*model.steps, translate)
        told.append(translate("There is no fast version of it yet: {steps}.").format(steps=steps))
    if model.materials:
        told.append(translate("It takes no guides and no boxes."))
    return " ".join(told)


def time_of(model: str, requested: Iterable[int | None]) -> str:
    """How long an object takes here with a model, in words: with the first of these numbers of steps that was used."""
    measured = (pump.jobs.timings.seconds(model, steps) for steps in requested)
    seconds = next((each for each in measured if each is not None), None)
    if seconds is None:
        return translate("Not measured yet on this machine")
    return translate("About {time} for an object, measured here").format(time=number(duration(seconds)))
