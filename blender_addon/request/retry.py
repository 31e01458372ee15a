"""Makes jobs again that have failed, or that Blender was closed during: in the same folder, of the same images."""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path
from typing import Any

import bpy

from ...backend import protocol
from .. import pump
from ..jobs.inputs import Content, ImageFile
from ..jobs.queue import Job, Target
from . import generate, images, placement


def retried(context: bpy.types.Context, job: Job, *, seed: int, low_memory: bool) -> Job:
    """A job's next try. It has the images of the first press; those that could not be had then are read now.

    Raises ValueError if an image of the .blend is gone.
    """
    pending = dict(job.writer.files) if job.writer is not None else {}
    points = job.request.points or (None,) * len(job.request.images)
    paths: list[str] = []
    files: dict[Path, Content] = {path: content for path, content in pending.items() if not _is_of_an_image(path, job)}
    for number, (path, point) in enumerate(zip(job.request.images, points, strict=True)):
        place, content = Path(path), pending.get(Path(path))
        if content is None and not _is_kept(place, job):
            picture = images.picture(_source(job, number), point)
            place = images.place_of(picture, Path(job.request.out, f"image {number}"))
            content = None if isinstance(picture.content, str) else picture.content
        elif isinstance(content, ImageFile) and not content.is_as_it_was:
            content = ImageFile(content.path) if content.path.is_file() else content
        if content is not None:
            files[place] = content
        paths.append(str(place))
    request = dataclasses.replace(
        job.request,
        job=uuid.uuid4().hex,
        images=tuple(paths),
        low_memory=job.request.low_memory or low_memory,
        **_seeded(job.request, seed),
    )
    Path(request.out).mkdir(parents=True, exist_ok=True)  # somebody may have cleared the temporary folder
    again = Job(request, job.target or _new_target(context, job), sources=job.sources, replaces=job.replaces)
    again.digests = job.digests
    return generate.start_writing(again, files)


def _seeded(request: protocol.Generate, seed: int) -> dict[str, Any]:
    """The fields of a request with another seed. In boxes that are made anew, it is the last box's."""
    if not request.edits or seed == request.seed:
        return {"seed": seed}
    *before, (low, high, _) = request.edits
    return {"edits": (*before, (low, high, seed))}


def _is_of_an_image(path: Path, job: Job) -> bool:
    return str(path) in job.request.images


def _is_kept(path: Path, job: Job) -> bool:
    """Whether an image lies in the job's own folder, as it was at the press."""
    return Path(job.request.out) in path.parents and path.is_file()


def _source(job: Job, number: int) -> str:
    """What an image is read from."""
    return job.sources[number] if len(job.sources) == len(job.request.images) else job.request.images[number]


def _new_target(context: bpy.types.Context, job: Job) -> Target:
    """Where the object of a job from an earlier session goes."""
    there = pump.replaced(job)
    place = placement.find_place(context) if there is None else placement.bounds(there)
    return pump.target(context, *place, replaces=there)
