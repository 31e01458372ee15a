"""What the panel says of the models that are chosen in it: what each gives, what it takes here, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ...backend.protocol import ModelInfo, Peak
from .. import installation, pump
from ..jobs.progress import duration
from ..server.computer import Computer, this_computer
from ..translations import gigabytes, number, translate
from .quality import steps_label


def about(models: Mapping[str, ModelInfo], family: str) -> str:
    """A family in sentences, in the user's language; empty if its model is not known.

    ``models`` are all that are known, also those that another one needs.
    """
    model = models.get(family)
    if model is None:
        return ""
    told = [_gives(model)]
    if model.resolutions:
        told.append(translate("Resolutions: {list}.").format(list=", ".join(map(str, model.resolutions))))
    elif model.resolution:
        told.append(translate("The grid of its shapes has {n} cells a side.").format(n=model.resolution))
    size = model.size + sum(models[need].size for need in model.needs if need in models)
    told.append(translate("Its networks take {size}.").format(size=gigabytes(size)))
    told.append(f"{time_of(family, (None,), model.own_resolution or None)}.")
    told += _lacks(models, model)
    if not model.guides:
        told.append(translate("It takes guides as they are, whatever the strength, and makes nothing anew in boxes."))
    return " ".join(told)


def summary(models: Mapping[str, ModelInfo], model: ModelInfo, resolution: int | None) -> str:
    """What the panel says below a chosen model that makes materials, at the resolution that is shown."""
    here = computer()
    takes = needs(model, resolution) if here is None or here.gpu else ""
    return " ".join(filter(None, [_gives(model), takes, *_lacks(models, models.get(model.teacher, model))]))


def needs(model: ModelInfo, resolution: int | None) -> str:
    """What a model takes of a GPU's memory at a resolution; empty if nothing is known of that."""
    peak = _peak(model, resolution)
    if peak is None:
        return ""
    words = translate("{n} takes {full} of a graphics card's memory, with Low Memory {low}, as counted.")
    return words.format(n=peak.resolution, full=gigabytes(peak.at_once), low=gigabytes(peak.low_memory))


class Warned(NamedTuple):
    """What to know before a model is used here, and whether *Low Memory* would be enough."""

    words: str
    low_memory_helps: bool = False


def warning(model: ModelInfo, resolution: int | None, low_memory: bool) -> Warned | None:
    """Why a model will not do well here at a resolution, and what to choose; None if nothing is known against it."""
    peak, here = _peak(model, resolution), computer()
    if peak is None or here is None:
        return None
    if not here.gpu:
        return Warned(translate("There is no graphics card that can be used: an object takes very long."))
    memory = here.gpu_memory
    if memory is None or peak.fits(memory, low_memory=low_memory):
        return None
    card = f"{memory / 2**30:.0f} GB"
    if peak.fits(memory, low_memory=True):
        words = translate("This graphics card has {card}, too little for {n}: turn on Low Memory.")
        if not model.resolutions:
            words = translate("This graphics card has {card}, too little for this model: turn on Low Memory.")
        return Warned(words.format(card=card, n=resolution), low_memory_helps=True)
    fitting = [
        each for each in model.resolutions if (other := _peak(model, each)) and other.fits(memory, low_memory=True)
    ]
    if not fitting:
        words = translate("This graphics card has {card}, too little for this model: choose another one.")
        return Warned(words.format(card=card))
    best = _peak(model, max(fitting))
    assert best is not None
    needs_low = not low_memory and not best.fits(memory, low_memory=False)
    words = translate("This graphics card has {card}, too little for {n}: choose {m}.")
    if needs_low:
        words = translate("This graphics card has {card}, too little for {n}: choose {m}, with Low Memory.")
    return Warned(words.format(card=card, n=resolution, m=best.resolution), low_memory_helps=needs_low)


def computer() -> Computer | None:
    """What the networks run on: as the backend said, or else the installation; None before either is known."""
    if pump.jobs.device is not None:
        name = pump.jobs.device.device
        return this_computer("" if name == "cpu" else name, pump.jobs.device.memory)
    here = installation.installer()
    return None if here is None else here.computer


def time_of(model: str, requested: Iterable[int | None], resolution: int | None = None) -> str:
    """How long an object takes here with a model, in words: with the first of these numbers of steps that was used."""
    measured = (pump.jobs.timings.seconds(model, steps, resolution) for steps in requested)
    seconds = next((each for each in measured if each is not None), None)
    if seconds is None:
        return translate("Not measured yet on this machine")
    return translate("About {time} for an object, measured here").format(time=number(duration(seconds)))


def _gives(model: ModelInfo) -> str:
    if model.materials:
        return translate("Makes colors, metal, roughness and see-through parts.")
    return translate("Makes colors alone: nothing is metal or see-through.")


def _lacks(models: Mapping[str, ModelInfo], model: ModelInfo) -> list[str]:
    """A fast version, and finer shapes: whether there are none, or they are only not downloaded."""
    told, others = (
        [],
        [other for other in models.values() if model.name in (other.teacher, other.part_of, *other.needs)],
    )
    if all(other.part_of for other in others):  # else there is a student, or one to download
        steps = steps_label(*model.steps, translate)
        told.append(translate("There is no fast version of it yet: {steps}.").format(steps=steps))
    for part in others:
        if part.part_of == model.name and part.state != "installed":
            finer = ", ".join(str(peak.resolution) for peak in part.peaks)
            words = translate("Finer shapes ({list}) are another download of {size}, in the preferences.")
            told.append(words.format(list=finer, size=gigabytes(part.size)))
    return told


def _peak(model: ModelInfo, resolution: int | None) -> Peak | None:
    """What is known of a resolution, or of the only one of a model without a choice."""
    made = resolution if model.resolutions else model.resolution
    return next((peak for peak in model.peaks if peak.resolution == made), None)
