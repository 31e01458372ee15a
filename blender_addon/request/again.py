"""Objects that remember how they were made are made again: in place, or as variants beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import bpy

from ...backend import protocol
from .. import pump
from ..jobs.journal import SavedObject
from ..jobs.queue import Job
from ..translations import translate
from . import generate, images, properties
from .placement import Location


def restore(settings: Mapping[str, Any], panel: properties.EspalierSettings) -> list[str]:
    """Bring the settings of an object back into the panel. Returns what could not be, in words."""
    lost = []
    panel.images.clear()
    for named in settings["images"]:
        if not images.add_source(panel, named):
            lost.append(translate("the image {name}").format(name=named.removeprefix(images.DATABLOCK)))
    panel.lock_seed = True  # or the next press would not make the same again
    panel.size = settings["size"]
    chosen = request_settings(settings)
    lost += [f"{name} {chosen[name]}" for name in chosen if not properties.show_setting(panel, name, chosen[name])]
    return lost


def request_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a request, of all that an object remembers: those it lacks were left to the model, or are of an
    earlier version and have their defaults."""
    return {
        name: settings.get(name, None if protocol.ABOUT[name].own else protocol.default(name))
        for name in protocol.names(protocol.Door.OBJECT)
    }


def new_job(
    context: bpy.types.Context, settings: Mapping[str, Any], *, seed: int, location: Location, size: float
) -> Job:
    """A job that makes an object with these settings and another seed. Raises ValueError if an image is gone."""
    pictures = [images.picture(named) for named in settings["images"]]
    return generate.job_with(
        request_settings(settings) | {"seed": seed},
        pictures,
        sources=tuple(settings["images"]),
        target=pump.target(context, location, size),
    )


def in_place_of(job: Job, target: bpy.types.Object) -> Job:
    """The job, with its result to take an object's place."""
    assert job.target is not None
    job.target = replace(job.target, replaces=target.session_uid)
    job.replaces = SavedObject(bpy.data.filepath, target.name) if bpy.data.filepath else None
    return job
