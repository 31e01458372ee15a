"""Objects that remember how they were made are made again: in place, or as variants beside them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy

from ...backend import protocol
from .. import pump
from ..jobs.journal import SavedObject
from ..jobs.queue import Job
from ..scene.made import REMEMBERED
from ..translations import translate
from . import generate, images, properties
from .placement import Location

#: What a request takes from what an object remembers; the rest is the images and where it came to stand.
OF_THE_REQUEST = tuple(name for name in REMEMBERED if name not in ("images", "size", "seed"))


def restore(settings: Mapping[str, Any], panel: properties.EspalierSettings) -> list[str]:
    """Bring the settings of an object back into the panel. Returns what could not be, in words."""
    lost = []
    panel.images.clear()
    for named in settings["images"]:
        if not images.add_source(panel, named):
            lost.append(translate("the image {name}").format(name=named.removeprefix(images.DATABLOCK)))
    at_hand = properties.models()
    panel.model = next((name for name, m in at_hand.items() if m.request == settings["model"]), settings["model"])
    for name in ("steps", "guidance"):
        setattr(panel, f"use_{name}", name in settings)
    panel.lock_seed = True  # or the next press would not make the same again
    for name in (name for name in REMEMBERED if name not in ("images", "model")):
        if name in settings:
            value = settings[name]
            try:
                setattr(panel, name, str(value) if name == "texture_size" else value)
            except TypeError:  # it was made by batch, with what the panel does not offer
                lost.append(f"{name} {value}")
    return lost


def new_job(
    context: bpy.types.Context, settings: Mapping[str, Any], *, seed: int, location: Location, size: float
) -> Job:
    """A job that makes an object with these settings and another seed. Raises ValueError if an image is gone."""
    pictures = [images.picture(named) for named in settings["images"]]
    out = pump.new_folder()
    paths, files = images.as_files(pictures, Path(out))
    chosen = {name: settings[name] for name in OF_THE_REQUEST if name in settings}
    chosen["normal_map"] = bool(chosen.get("normal_map", True))
    chosen["ambient_occlusion"] = bool(chosen.get("ambient_occlusion", False))
    request = protocol.Generate(job=uuid.uuid4().hex, images=paths, out=out, seed=seed, **chosen)
    job = Job(request, pump.target(context, location, size), sources=tuple(settings["images"]))
    return generate.start_writing(job, files)


def in_place_of(job: Job, target: bpy.types.Object) -> Job:
    """The job, with its result to take an object's place."""
    assert job.target is not None
    job.target = replace(job.target, replaces=target.session_uid)
    job.replaces = SavedObject(bpy.data.filepath, target.name) if bpy.data.filepath else None
    job.request = replace(job.request, keep_raw=False)  # it would be an object beside
    return job
