"""Makes objects again that remember how they were made: in place, or as variants beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy

from ...backend import protocol
from .. import pump
from ..jobs.journal import SavedObject
from ..jobs.queue import Job, Target
from ..scene import paths
from ..scene.made import has_raw
from ..translations import translate
from . import generate, images, properties
from .placement import Location


def restore(settings: Mapping[str, Any], panel: properties.EspalierSettings) -> list[str]:
    """Load the settings of an object into the panel. Returns what could not be restored, in words."""
    lost = []
    panel.images.clear()
    for named, point in zip(settings["images"], points(settings), strict=True):
        if not images.add_source(panel, named, point):
            lost.append(translate("the image {name}").format(name=named.partition(":")[2]))
    panel.guide, panel.guide_voxels = None, settings.get("voxels", "")
    if settings.get("edits"):
        lost.append(translate("what was made anew in boxes"))
    panel.lock_seed = True  # otherwise the next press would not make the same object
    panel.size = settings["size"]
    chosen = request_settings(settings)
    model = properties.models().get(chosen["model"])
    usual = protocol.default("texture_source")
    if model and chosen["texture_source"] == protocol.texture_source(usual, materials=model.materials):
        chosen["texture_source"] = usual  # for another model, that may be another one
    lost += [f"{name} {chosen[name]}" for name in chosen if not properties.show_setting(panel, name, chosen[name])]
    if chosen["resolution"] not in (None, properties.resolution(panel)):  # its networks are no longer there
        lost.append(f"resolution {chosen['resolution']}")
    return lost


def request_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a request, from everything that an object remembers.

    A setting that the object lacks was left to the model. Or the object is from an earlier version that did not know
    the setting: then it has its default.
    """
    found = {
        name: settings.get(name, None if protocol.ABOUT[name].own else protocol.default(name))
        for name in protocol.names(protocol.Door.OBJECT)
    }
    return found | {"model": paths.absolute(found["model"])}


def points(settings: Mapping[str, Any]) -> tuple[protocol.Point | None, ...]:
    """The point on the object in each image that an object was made from; None where nobody picked it."""
    found = settings.get("points", ())
    return tuple(map(_point, found)) if len(found) == len(settings["images"]) else (None,) * len(settings["images"])


def _point(value: object) -> protocol.Point | None:
    """A point as it was remembered; None if it is none, for people can change what an object remembers."""
    match value:
        case [int() | float() as x, int() | float() as y] if 0 <= x <= 1 and 0 <= y <= 1:
            return float(x), float(y)
    return None


def new_job(
    context: bpy.types.Context, settings: Mapping[str, Any], *, seed: int, location: Location, size: float
) -> Job:
    """A job that makes an object with these settings and this seed. Raises ValueError if an image is gone.

    Its guide stays. Boxes belong to the object of one seed: with another one there is no rest that they left alone.
    """
    same = seed == settings.get("seed", protocol.default("seed"))
    wanted = ("voxels", "edits") if same else ("voxels",)
    shape = {name: settings[name] for name in wanted if settings.get(name)}
    return job_with(settings, {"seed": seed}, target=pump.target(context, location, size), shape=shape)


def job_with(
    settings: Mapping[str, Any],
    fields: Mapping[str, Any],
    *,
    target: Target,
    shape: Mapping[str, Any],
    folder: Path | None = None,
) -> Job:
    """A job with what an object remembers, and these fields of the request. The rest is as in ``generate.job_with``.

    Raises ValueError if an image is gone.
    """
    pictures = [images.picture(named, point) for named, point in zip(settings["images"], points(settings), strict=True)]
    return generate.job_with(
        {**request_settings(settings), **fields},
        pictures,
        sources=tuple(map(paths.absolute, settings["images"])),
        target=target,
        shape=shape,
        folder=folder,
    )


def in_place_of(job: Job, target: bpy.types.Object) -> Job:
    """The same job, changed so that its result replaces an object."""
    assert job.target is not None
    if not job.request.mesh and has_raw(target):  # then it gets a new one, whatever the settings say
        job.request = replace(job.request, keep_raw=True)
    job.target = replace(job.target, replaces=target.session_uid)
    job.replaces = SavedObject(bpy.data.filepath, target.name) if bpy.data.filepath else None
    return job
